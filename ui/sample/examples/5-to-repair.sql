-- title: A broken statement: press Repair
SELECT m.name, COUNT(*) AS orders
FORM mechanics AS m
JOIN work_order AS w ON w.mechanic_id = m.id
WHERE w.finished_on IS NOT NULL
GROUP BY m.name
ORDER BY orders DESC;<|cursor|>
