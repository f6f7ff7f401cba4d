CREATE TABLE departments (dept_no INTEGER PRIMARY KEY, dept_name TEXT NOT NULL UNIQUE, location TEXT NOT NULL);
CREATE TABLE job_grades (grade INTEGER PRIMARY KEY, title TEXT NOT NULL, min_salary NUMERIC NOT NULL, max_salary NUMERIC NOT NULL);
CREATE TABLE employees (
  emp_no INTEGER PRIMARY KEY,
  first_name TEXT NOT NULL,
  last_name TEXT NOT NULL,
  gender TEXT CHECK (gender IN ('F', 'M', 'X')),
  hire_date DATE NOT NULL,
  dept_no INTEGER NOT NULL REFERENCES departments (dept_no),
  grade INTEGER NOT NULL REFERENCES job_grades (grade),
  manager_no INTEGER REFERENCES employees (emp_no)
);
CREATE TABLE salaries (
  emp_no INTEGER NOT NULL REFERENCES employees (emp_no),
  from_date DATE NOT NULL,
  amount NUMERIC(10, 2) NOT NULL,
  currency TEXT NOT NULL, -- EUR, USD or GBP
  PRIMARY KEY (emp_no, from_date)
);
CREATE TABLE absences (
  absence_id INTEGER PRIMARY KEY,
  emp_no INTEGER NOT NULL REFERENCES employees (emp_no),
  kind TEXT NOT NULL, -- vacation, sickness, training or parental
  start_date DATE NOT NULL,
  days INTEGER NOT NULL,
  approved BOOLEAN NOT NULL
);
