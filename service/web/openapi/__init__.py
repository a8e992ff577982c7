"""The OpenAPI document and its page, generated from the routes. Owns no state. Only the composition root imports it."""
