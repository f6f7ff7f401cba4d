-- title: Fill in the middle of a statement
SELECT strftime('%Y-%m', i.issued_on) AS month, <|cursor|>
FROM invoices AS i
GROUP BY month
ORDER BY month;
