-- Stock of spare parts over several sites.
CREATE TABLE tbl_supplier (
    supplier_code VARCHAR(10) NOT NULL PRIMARY KEY,
    supplier_name VARCHAR(60) NOT NULL,
    country_code CHAR(2) NOT NULL,
    lead_time_days INT NOT NULL
);

CREATE TABLE tbl_site (
    site_id INT NOT NULL PRIMARY KEY,
    site_name VARCHAR(40) NOT NULL,
    city VARCHAR(40) NOT NULL
);

CREATE TABLE tbl_bin (
    bin_id INT NOT NULL PRIMARY KEY,
    site_id INT NOT NULL REFERENCES tbl_site (site_id),
    aisle INT NOT NULL,
    max_weight_kg DECIMAL(8, 1) NOT NULL
);

CREATE TABLE tbl_part (
    part_no VARCHAR(12) NOT NULL PRIMARY KEY,
    description VARCHAR(80) NOT NULL,
    supplier_code VARCHAR(10) NOT NULL REFERENCES tbl_supplier (supplier_code),
    unit_cost DECIMAL(10, 2) NOT NULL,
    reorder_level INT NOT NULL
);

CREATE TABLE tbl_stock (
    bin_id INT NOT NULL REFERENCES tbl_bin (bin_id),
    part_no VARCHAR(12) NOT NULL REFERENCES tbl_part (part_no),
    qty INT NOT NULL,
    counted_on DATE,
    PRIMARY KEY (bin_id, part_no)
);

CREATE TABLE tbl_movement (
    movement_id INT NOT NULL PRIMARY KEY,
    part_no VARCHAR(12) NOT NULL REFERENCES tbl_part (part_no),
    bin_id INT NOT NULL REFERENCES tbl_bin (bin_id),
    direction VARCHAR(3) NOT NULL CHECK (direction IN ('in', 'out')),
    qty INT NOT NULL,
    moved_at TIMESTAMP NOT NULL
);
