-- Objects, exhibitions and visitors of a museum.
CREATE TABLE curators (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    department TEXT NOT NULL, -- painting, sculpture, prints or antiquities
    joined_on DATE NOT NULL
);

CREATE TABLE makers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    birth_year INTEGER,
    death_year INTEGER,
    country TEXT NOT NULL
);

CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    inventory_number TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    maker_id INTEGER REFERENCES makers (id), -- NULL where the maker is unknown
    year_made INTEGER,
    material TEXT NOT NULL, -- oil, bronze, marble, paper or wood
    insured_value NUMERIC(12, 2) NOT NULL,
    on_display BOOLEAN NOT NULL
);

CREATE TABLE exhibitions (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    curator_id INTEGER NOT NULL REFERENCES curators (id),
    opens_on DATE NOT NULL,
    closes_on DATE NOT NULL
);

CREATE TABLE exhibits (
    exhibition_id INTEGER NOT NULL REFERENCES exhibitions (id),
    object_id INTEGER NOT NULL REFERENCES objects (id),
    room TEXT NOT NULL,
    PRIMARY KEY (exhibition_id, object_id)
);

CREATE TABLE visits (
    id INTEGER PRIMARY KEY,
    exhibition_id INTEGER NOT NULL REFERENCES exhibitions (id),
    visited_on DATE NOT NULL,
    ticket_kind TEXT NOT NULL CHECK (ticket_kind IN ('full', 'reduced', 'free')),
    price NUMERIC(6, 2) NOT NULL,
    minutes INTEGER
);
