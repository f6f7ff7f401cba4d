-- A football league: two teams meet in each match.
CREATE TABLE stadium (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    city TEXT NOT NULL,
    capacity INTEGER NOT NULL
);

CREATE TABLE team (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    founded_year INTEGER NOT NULL,
    stadium_id INTEGER NOT NULL REFERENCES stadium (id),
    budget_millions REAL NOT NULL
);

CREATE TABLE player (
    id INTEGER PRIMARY KEY,
    team_id INTEGER REFERENCES team (id), -- NULL for players without a contract
    name TEXT NOT NULL,
    position TEXT NOT NULL, -- goalkeeper, defender, midfielder or forward
    nationality TEXT NOT NULL,
    birth_date DATE NOT NULL,
    market_value REAL
);

CREATE TABLE fixture (
    id INTEGER PRIMARY KEY,
    played_on DATE NOT NULL,
    home_team_id INTEGER NOT NULL REFERENCES team (id),
    away_team_id INTEGER NOT NULL REFERENCES team (id),
    home_goals INTEGER NOT NULL,
    away_goals INTEGER NOT NULL,
    attendance INTEGER
);

CREATE TABLE goal (
    id INTEGER PRIMARY KEY,
    fixture_id INTEGER NOT NULL REFERENCES fixture (id),
    player_id INTEGER NOT NULL REFERENCES player (id),
    minute INTEGER NOT NULL,
    is_penalty BOOLEAN NOT NULL
);
