CREATE TABLE hotels (
    hotel_id INTEGER PRIMARY KEY,
    hotel_name TEXT NOT NULL,
    city TEXT NOT NULL,
    stars INTEGER NOT NULL CHECK (stars BETWEEN 1 AND 5)
);

CREATE TABLE room_types (
    room_type_id INTEGER PRIMARY KEY,
    type_name TEXT NOT NULL, -- single, double, suite or family
    beds INTEGER NOT NULL
);

CREATE TABLE rooms (
    room_id INTEGER PRIMARY KEY,
    hotel_id INTEGER NOT NULL REFERENCES hotels (hotel_id),
    room_type_id INTEGER NOT NULL REFERENCES room_types (room_type_id),
    room_number TEXT NOT NULL,
    floor INTEGER NOT NULL,
    nightly_rate NUMERIC(8, 2) NOT NULL
);

CREATE TABLE guests (
    guest_id INTEGER PRIMARY KEY,
    full_name TEXT NOT NULL,
    email TEXT UNIQUE,
    nationality TEXT NOT NULL,
    loyalty_points INTEGER NOT NULL
);

CREATE TABLE bookings (
    booking_id INTEGER PRIMARY KEY,
    guest_id INTEGER NOT NULL REFERENCES guests (guest_id),
    room_id INTEGER NOT NULL REFERENCES rooms (room_id),
    check_in DATE NOT NULL,
    check_out DATE NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('booked', 'checked_in', 'completed', 'no_show')),
    total_price NUMERIC(10, 2) NOT NULL
);

CREATE TABLE payments (
    payment_id INTEGER PRIMARY KEY,
    booking_id INTEGER NOT NULL REFERENCES bookings (booking_id),
    paid_at DATETIME NOT NULL,
    method TEXT NOT NULL, -- card, cash, transfer
    amount NUMERIC(10, 2) NOT NULL
);
