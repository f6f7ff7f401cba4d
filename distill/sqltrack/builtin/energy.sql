-- Electricity meters of a municipal utility.
CREATE TABLE district (district_code TEXT PRIMARY KEY, district_name TEXT NOT NULL, population INTEGER);
CREATE TABLE tariff (
    tariff_id INTEGER PRIMARY KEY,
    tariff_name TEXT NOT NULL,
    price_per_kwh NUMERIC(6, 4) NOT NULL,
    base_fee NUMERIC(6, 2) NOT NULL,
    is_green BOOLEAN NOT NULL
);
CREATE TABLE household (
    household_id INTEGER PRIMARY KEY,
    district_code TEXT NOT NULL REFERENCES district (district_code),
    tariff_id INTEGER NOT NULL REFERENCES tariff (tariff_id),
    street TEXT NOT NULL,
    residents INTEGER NOT NULL,
    floor_area_m2 REAL
);
CREATE TABLE meter (
    meter_id INTEGER PRIMARY KEY,
    household_id INTEGER NOT NULL REFERENCES household (household_id),
    serial_number TEXT NOT NULL UNIQUE,
    meter_type TEXT NOT NULL, -- analog, digital or smart
    installed_on DATE NOT NULL
);
CREATE TABLE reading (
    meter_id INTEGER NOT NULL REFERENCES meter (meter_id),
    read_on DATE NOT NULL,
    kwh REAL NOT NULL,
    estimated BOOLEAN NOT NULL,
    PRIMARY KEY (meter_id, read_on)
);
CREATE TABLE invoice (
    invoice_id INTEGER PRIMARY KEY,
    household_id INTEGER NOT NULL REFERENCES household (household_id),
    issued_on DATE NOT NULL,
    due_on DATE NOT NULL,
    amount NUMERIC(10, 2) NOT NULL,
    paid_on DATE -- NULL while it is not paid
);
