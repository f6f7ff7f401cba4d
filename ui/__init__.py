"""The browser product: the server, the SQL router and the Gradio page as one application."""
