-- One veterinary practice: owners, their animals, visits and what was prescribed.
CREATE TABLE owner (
  owner_id INTEGER PRIMARY KEY,
  full_name VARCHAR(80) NOT NULL,
  phone VARCHAR(20),
  city VARCHAR(40) NOT NULL,
  registered DATE NOT NULL
);

CREATE TABLE species (
  species_id INTEGER PRIMARY KEY,
  species_name VARCHAR(30) NOT NULL UNIQUE,
  is_exotic INTEGER NOT NULL -- 0 or 1
);

CREATE TABLE animal (
  animal_id INTEGER PRIMARY KEY,
  owner_id INTEGER NOT NULL,
  species_id INTEGER NOT NULL,
  pet_name VARCHAR(30) NOT NULL,
  sex CHAR(1) NOT NULL CHECK (sex IN ('F', 'M')),
  born DATE,
  weight REAL, -- in kg
  FOREIGN KEY (owner_id) REFERENCES owner (owner_id),
  FOREIGN KEY (species_id) REFERENCES species (species_id)
);

CREATE TABLE vet (
  vet_id INTEGER PRIMARY KEY,
  full_name VARCHAR(80) NOT NULL,
  specialty VARCHAR(40), -- surgery, dentistry, dermatology or cardiology
  hourly_rate DECIMAL(6, 2) NOT NULL
);

CREATE TABLE visit (
  visit_id INTEGER PRIMARY KEY,
  animal_id INTEGER NOT NULL,
  vet_id INTEGER NOT NULL,
  visit_date DATE NOT NULL,
  reason VARCHAR(60) NOT NULL, -- checkup, vaccination, injury, illness
  fee DECIMAL(8, 2) NOT NULL,
  FOREIGN KEY (animal_id) REFERENCES animal (animal_id),
  FOREIGN KEY (vet_id) REFERENCES vet (vet_id)
);

CREATE TABLE prescription (
  prescription_id INTEGER PRIMARY KEY,
  visit_id INTEGER NOT NULL,
  drug VARCHAR(40) NOT NULL,
  dose_mg INTEGER NOT NULL,
  days INTEGER NOT NULL,
  FOREIGN KEY (visit_id) REFERENCES visit (visit_id)
);
