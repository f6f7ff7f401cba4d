-- title: Start here: who is waiting for a bike?
-- Grey text is a suggestion. Tab takes all of it, Ctrl+Right the next word, Esc none.
SELECT c.name, b.brand, w.opened_on
FROM work_orders AS w
JOIN bikes AS b ON <|cursor|>
