"""Who chose what: from a raw dump to the parts of a split, and the histories that are read from them."""
