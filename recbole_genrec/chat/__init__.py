"""Chat with an OpenAI-compatible server: requests with a cache, and answers grounded in a catalogue."""
