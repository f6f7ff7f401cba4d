CREATE TABLE teams (
    team_id INTEGER PRIMARY KEY,
    team_name TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL -- EMEA, AMER or APAC
);

CREATE TABLE agents (
    agent_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    team_id INTEGER NOT NULL REFERENCES teams (team_id),
    lead_id INTEGER REFERENCES agents (agent_id), -- who the agent reports to
    hired_on DATE NOT NULL
);

CREATE TABLE accounts (
    account_id INTEGER PRIMARY KEY,
    company TEXT NOT NULL,
    plan TEXT NOT NULL CHECK (plan IN ('free', 'pro', 'enterprise')),
    monthly_fee NUMERIC(8, 2) NOT NULL,
    since DATE NOT NULL
);

CREATE TABLE tickets (
    ticket_id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (account_id),
    agent_id INTEGER REFERENCES agents (agent_id), -- NULL while nobody has taken it
    subject TEXT NOT NULL,
    priority TEXT NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    status TEXT NOT NULL CHECK (status IN ('open', 'waiting', 'solved', 'closed')),
    opened_at DATETIME NOT NULL,
    closed_at DATETIME
);

CREATE TABLE messages (
    message_id INTEGER PRIMARY KEY,
    ticket_id INTEGER NOT NULL REFERENCES tickets (ticket_id),
    sent_at DATETIME NOT NULL,
    is_internal INTEGER NOT NULL, -- 1 for notes that the customer does not see
    body TEXT NOT NULL
);

CREATE TABLE tags (
    tag_id INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE
);

CREATE TABLE ticket_tags (
    ticket_id INTEGER NOT NULL REFERENCES tickets (ticket_id),
    tag_id INTEGER NOT NULL REFERENCES tags (tag_id),
    PRIMARY KEY (ticket_id, tag_id)
);
