-- title: Inside a common table expression
WITH spent AS (
    SELECT b.customer_id, SUM(i.total) AS total
    FROM invoices AS i
    JOIN work_orders AS w ON <|cursor|>
    GROUP BY b.customer_id
)
SELECT c.name, s.total
FROM spent AS s
JOIN customers AS c ON c.customer_id = s.customer_id
ORDER BY s.total DESC;
