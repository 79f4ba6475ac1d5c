"""The items: their texts, vectors of these, and identifiers."""
