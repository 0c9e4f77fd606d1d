"""The forms of both files, as pydantic models: the only place that knows pydantic."""
