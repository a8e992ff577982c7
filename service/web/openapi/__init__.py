"""The OpenAPI document and its page, made from the routes. Owns no state. Imported by the composition root alone."""
