CREATE TABLE films (
    film_id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    release_year INTEGER NOT NULL,
    runtime_minutes INTEGER NOT NULL,
    genre TEXT NOT NULL, -- drama, comedy, thriller, animation or documentary
    rating REAL, -- viewers' mean, 0 to 10
    director_id INTEGER REFERENCES people (person_id)
);

CREATE TABLE people (
    person_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    birth_year INTEGER,
    nationality TEXT
);

CREATE TABLE castings (
    film_id INTEGER NOT NULL REFERENCES films (film_id),
    person_id INTEGER NOT NULL REFERENCES people (person_id),
    role_name TEXT NOT NULL,
    PRIMARY KEY (film_id, person_id)
);

CREATE TABLE screens (
    screen_id INTEGER PRIMARY KEY,
    screen_name TEXT NOT NULL,
    seats INTEGER NOT NULL,
    has_3d BOOLEAN NOT NULL
);

CREATE TABLE showings (
    showing_id INTEGER PRIMARY KEY,
    film_id INTEGER NOT NULL REFERENCES films (film_id),
    screen_id INTEGER NOT NULL REFERENCES screens (screen_id),
    starts_at DATETIME NOT NULL,
    ticket_price NUMERIC(5, 2) NOT NULL
);

CREATE TABLE tickets (
    ticket_id INTEGER PRIMARY KEY,
    showing_id INTEGER NOT NULL REFERENCES showings (showing_id),
    seat TEXT NOT NULL,
    sold_at DATETIME NOT NULL,
    channel TEXT NOT NULL CHECK (channel IN ('counter', 'web', 'app')),
    price_paid NUMERIC(5, 2) NOT NULL
);
