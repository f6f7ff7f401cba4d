CREATE TABLE Artist (
    ArtistId INTEGER PRIMARY KEY,
    Name TEXT NOT NULL,
    Country TEXT,
    FormedYear INTEGER
);

CREATE TABLE Album (
    AlbumId INTEGER PRIMARY KEY,
    ArtistId INTEGER NOT NULL REFERENCES Artist (ArtistId),
    Title TEXT NOT NULL,
    ReleaseDate DATE NOT NULL,
    Label TEXT
);

CREATE TABLE Track (
    TrackId INTEGER PRIMARY KEY,
    AlbumId INTEGER NOT NULL REFERENCES Album (AlbumId),
    Title TEXT NOT NULL,
    Genre TEXT NOT NULL, -- rock, jazz, pop, classical, folk
    Seconds INTEGER NOT NULL,
    Explicit BOOLEAN NOT NULL
);

CREATE TABLE Listener (
    ListenerId INTEGER PRIMARY KEY,
    Username TEXT NOT NULL UNIQUE,
    Country TEXT NOT NULL,
    Tier TEXT NOT NULL CHECK (Tier IN ('free', 'premium', 'family')),
    SignupDate DATE NOT NULL
);

CREATE TABLE Play (
    PlayId INTEGER PRIMARY KEY,
    ListenerId INTEGER NOT NULL REFERENCES Listener (ListenerId),
    TrackId INTEGER NOT NULL REFERENCES Track (TrackId),
    PlayedAt DATETIME NOT NULL,
    Device TEXT NOT NULL -- phone, desktop, speaker or car
);

CREATE TABLE Follow (
    ListenerId INTEGER NOT NULL REFERENCES Listener (ListenerId),
    ArtistId INTEGER NOT NULL REFERENCES Artist (ArtistId),
    FollowedOn DATE NOT NULL,
    PRIMARY KEY (ListenerId, ArtistId)
);
