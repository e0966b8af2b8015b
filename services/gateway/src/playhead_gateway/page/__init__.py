"""The page behind a link, without JavaScript: a JSON Schema becomes fields, what is sent becomes a JSON value again."""
