-- A bicycle workshop: customers bring bikes, mechanics work on them, parts come from suppliers.

CREATE TABLE customers (
    customer_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT UNIQUE,
    phone TEXT,
    city TEXT NOT NULL,
    joined_on DATE NOT NULL
);

CREATE TABLE bikes (
    bike_id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (customer_id),
    brand TEXT NOT NULL,
    model TEXT NOT NULL,
    kind TEXT NOT NULL, -- road, city, mountain, cargo or electric
    frame_number TEXT UNIQUE,
    bought_on DATE
);

CREATE TABLE mechanics (
    mechanic_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    hired_on DATE NOT NULL,
    hourly_rate NUMERIC(6, 2) NOT NULL,
    mentor_id INTEGER REFERENCES mechanics (mechanic_id)
);

CREATE TABLE services (
    service_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    price NUMERIC(8, 2) NOT NULL,
    minutes INTEGER NOT NULL -- how long it usually takes
);

CREATE TABLE suppliers (
    supplier_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    delivery_days INTEGER NOT NULL
);

CREATE TABLE parts (
    part_id INTEGER PRIMARY KEY,
    supplier_id INTEGER NOT NULL REFERENCES suppliers (supplier_id),
    name TEXT NOT NULL,
    category TEXT NOT NULL, -- brakes, drivetrain, wheels, lights or cockpit
    price NUMERIC(8, 2) NOT NULL,
    in_stock INTEGER NOT NULL DEFAULT 0,
    reorder_level INTEGER NOT NULL DEFAULT 5
);

CREATE TABLE work_orders (
    order_id INTEGER PRIMARY KEY,
    bike_id INTEGER NOT NULL REFERENCES bikes (bike_id),
    mechanic_id INTEGER REFERENCES mechanics (mechanic_id),
    opened_on DATE NOT NULL,
    finished_on DATE,
    status TEXT NOT NULL, -- open, waiting for parts, finished or collected
    note TEXT
);

CREATE TABLE work_order_services (
    order_id INTEGER NOT NULL REFERENCES work_orders (order_id),
    service_id INTEGER NOT NULL REFERENCES services (service_id),
    price NUMERIC(8, 2) NOT NULL, -- as agreed, which may differ from the list
    PRIMARY KEY (order_id, service_id)
);

CREATE TABLE work_order_parts (
    order_id INTEGER NOT NULL REFERENCES work_orders (order_id),
    part_id INTEGER NOT NULL REFERENCES parts (part_id),
    quantity INTEGER NOT NULL,
    unit_price NUMERIC(8, 2) NOT NULL,
    PRIMARY KEY (order_id, part_id)
);

CREATE TABLE invoices (
    invoice_id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL UNIQUE REFERENCES work_orders (order_id),
    issued_on DATE NOT NULL,
    total NUMERIC(10, 2) NOT NULL
);

CREATE TABLE payments (
    payment_id INTEGER PRIMARY KEY,
    invoice_id INTEGER NOT NULL REFERENCES invoices (invoice_id),
    paid_on DATE NOT NULL,
    amount NUMERIC(10, 2) NOT NULL,
    method TEXT NOT NULL -- card, cash or transfer
);

CREATE VIEW open_work AS
SELECT w.order_id, c.name AS customer, b.brand, b.model, m.name AS mechanic, w.opened_on, w.status
FROM work_orders AS w
JOIN bikes AS b ON b.bike_id = w.bike_id
JOIN customers AS c ON c.customer_id = b.customer_id
LEFT JOIN mechanics AS m ON m.mechanic_id = w.mechanic_id
WHERE w.finished_on IS NULL;

INSERT INTO customers VALUES
    (1, 'Ines Albrecht', 'ines@mail.example', '0301 552', 'Harbour Town', '2023-03-04'),
    (2, 'Tomasz Wrona', 'tomasz@mail.example', '0301 118', 'Harbour Town', '2023-05-19'),
    (3, 'Lucía Ferrer', 'lucia@mail.example', NULL, 'Millfield', '2023-09-02'),
    (4, 'Aiko Tanabe', 'aiko@mail.example', '0417 903', 'Millfield', '2024-01-15'),
    (5, 'Jonas Lindqvist', NULL, '0301 774', 'Harbour Town', '2024-04-22'),
    (6, 'Amara Okafor', 'amara@mail.example', '0522 310', 'Oak Hill', '2024-06-30'),
    (7, 'Pieter de Boer', 'pieter@mail.example', '0522 871', 'Oak Hill', '2025-02-11'),
    (8, 'Nadia Haddad', 'nadia@mail.example', NULL, 'Millfield', '2025-03-28');

INSERT INTO bikes VALUES
    (1, 1, 'Corvo', 'Strada 3', 'road', 'CV-10442', '2022-08-01'),
    (2, 1, 'Lasten', 'Kiste L', 'cargo', 'LA-00871', '2024-05-12'),
    (3, 2, 'Norte', 'Urbano', 'city', 'NO-55120', '2021-04-03'),
    (4, 3, 'Corvo', 'Pista', 'road', 'CV-11890', '2023-09-01'),
    (5, 4, 'Tsuki', 'E-Flow', 'electric', 'TS-70215', '2024-01-10'),
    (6, 5, 'Norte', 'Sierra 29', 'mountain', 'NO-60344', '2020-07-15'),
    (7, 6, 'Tsuki', 'E-Kaze', 'electric', 'TS-71188', '2024-06-20'),
    (8, 7, 'Lasten', 'Kiste XL', 'cargo', 'LA-01203', '2025-02-01'),
    (9, 8, 'Norte', 'Urbano', 'city', 'NO-58871', NULL),
    (10, 2, 'Corvo', 'Strada 5', 'road', 'CV-12007', '2025-01-20');

INSERT INTO mechanics VALUES
    (1, 'Greta Holm', '2019-02-01', 62.00, NULL),
    (2, 'Samir Benali', '2021-06-15', 54.00, 1),
    (3, 'Oliver Finch', '2023-09-01', 46.50, 1),
    (4, 'Mei Lin Zhao', '2025-01-07', 41.00, 2);

INSERT INTO services VALUES
    (1, 'Safety check', 29.00, 30),
    (2, 'Full service', 119.00, 150),
    (3, 'Brake adjustment', 24.00, 20),
    (4, 'Wheel truing', 32.00, 35),
    (5, 'Gear tuning', 27.50, 25),
    (6, 'Battery diagnosis', 39.00, 40),
    (7, 'Tyre change', 18.00, 15);

INSERT INTO suppliers VALUES
    (1, 'Velo Nord', 'Denmark', 3),
    (2, 'Cicli Riva', 'Italy', 6),
    (3, 'Kanso Parts', 'Japan', 14),
    (4, 'Hub & Spoke', 'Ireland', 4);

INSERT INTO parts VALUES
    (1, 1, 'Disc brake pads', 'brakes', 16.90, 24, 10),
    (2, 1, 'Brake cable', 'brakes', 6.50, 41, 15),
    (3, 2, '11-speed chain', 'drivetrain', 34.00, 9, 8),
    (4, 2, 'Cassette 11-32', 'drivetrain', 72.00, 3, 4),
    (5, 3, 'Derailleur hanger', 'drivetrain', 19.80, 2, 5),
    (6, 4, 'Spoke set', 'wheels', 14.20, 12, 6),
    (7, 4, 'Tyre 40-622', 'wheels', 31.50, 18, 10),
    (8, 1, 'Inner tube 28', 'wheels', 5.90, 60, 20),
    (9, 3, 'Front light 80 lux', 'lights', 58.00, 4, 4),
    (10, 2, 'Handlebar tape', 'cockpit', 21.00, 7, 5);

INSERT INTO work_orders VALUES
    (1, 1, 1, '2025-03-03', '2025-03-04', 'collected', NULL),
    (2, 3, 2, '2025-03-10', '2025-03-12', 'collected', 'rear wheel out of true'),
    (3, 5, 2, '2025-03-18', '2025-03-20', 'collected', 'range has dropped'),
    (4, 6, 3, '2025-04-01', '2025-04-03', 'collected', NULL),
    (5, 2, 1, '2025-04-14', '2025-04-17', 'collected', 'brakes squeal when loaded'),
    (6, 7, 2, '2025-05-05', '2025-05-06', 'collected', NULL),
    (7, 4, 3, '2025-05-20', '2025-05-23', 'finished', 'bent hanger'),
    (8, 8, 1, '2025-06-02', NULL, 'open', NULL),
    (9, 9, 4, '2025-06-04', NULL, 'waiting for parts', 'front light broken'),
    (10, 10, NULL, '2025-06-05', NULL, 'open', 'first inspection'),
    (11, 1, 3, '2025-06-06', NULL, 'open', NULL),
    (12, 3, 4, '2025-06-07', '2025-06-07', 'finished', NULL);

INSERT INTO work_order_services VALUES
    (1, 2, 119.00), (2, 4, 32.00), (2, 1, 25.00), (3, 6, 39.00), (4, 5, 27.50), (4, 3, 24.00),
    (5, 3, 24.00), (5, 1, 29.00), (6, 6, 35.00), (7, 5, 27.50), (8, 2, 119.00), (9, 1, 29.00),
    (10, 1, 29.00), (11, 7, 18.00), (12, 7, 18.00);

INSERT INTO work_order_parts VALUES
    (1, 3, 1, 34.00), (1, 10, 1, 21.00), (2, 6, 2, 14.20), (4, 2, 2, 6.50), (5, 1, 4, 15.90),
    (7, 5, 1, 19.80), (8, 1, 2, 16.90), (9, 9, 1, 58.00), (11, 8, 2, 5.90), (12, 7, 1, 31.50), (12, 8, 1, 5.90);

INSERT INTO invoices VALUES
    (1, 1, '2025-03-04', 174.00),
    (2, 2, '2025-03-12', 85.40),
    (3, 3, '2025-03-20', 39.00),
    (4, 4, '2025-04-03', 64.50),
    (5, 5, '2025-04-17', 116.60),
    (6, 6, '2025-05-06', 35.00),
    (7, 7, '2025-05-23', 47.30);

INSERT INTO payments VALUES
    (1, 1, '2025-03-04', 174.00, 'card'),
    (2, 2, '2025-03-13', 85.40, 'transfer'),
    (3, 3, '2025-03-20', 39.00, 'card'),
    (4, 4, '2025-04-03', 30.00, 'cash'),
    (5, 4, '2025-04-10', 34.50, 'card'),
    (6, 5, '2025-04-19', 116.60, 'transfer'),
    (7, 6, '2025-05-06', 35.00, 'card');
