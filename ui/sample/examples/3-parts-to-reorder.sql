-- title: A comment says what is wanted
-- Parts at or below their reorder level, with the supplier and how long it delivers
SELECT <|cursor|>
