CREATE TABLE policyholder (
    holder_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    date_of_birth DATE NOT NULL,
    postcode TEXT NOT NULL,
    smoker BOOLEAN
);

CREATE TABLE product_line (
    line_code TEXT PRIMARY KEY, -- such as MOTOR-01
    line_name TEXT NOT NULL,
    base_premium NUMERIC(9, 2) NOT NULL
);

CREATE TABLE policy (
    policy_no TEXT PRIMARY KEY,
    holder_id INTEGER NOT NULL REFERENCES policyholder (holder_id),
    line_code TEXT NOT NULL REFERENCES product_line (line_code),
    start_date DATE NOT NULL,
    end_date DATE,
    annual_premium NUMERIC(9, 2) NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'lapsed', 'terminated'))
);

CREATE TABLE adjuster (
    adjuster_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    region TEXT NOT NULL -- north, south, east or west
);

CREATE TABLE claim (
    claim_id INTEGER PRIMARY KEY,
    policy_no TEXT NOT NULL REFERENCES policy (policy_no),
    adjuster_id INTEGER REFERENCES adjuster (adjuster_id),
    reported_on DATE NOT NULL,
    claim_type TEXT NOT NULL, -- theft, fire, water, collision or liability
    claimed_amount NUMERIC(10, 2) NOT NULL,
    paid_amount NUMERIC(10, 2) -- NULL until it is settled
);
