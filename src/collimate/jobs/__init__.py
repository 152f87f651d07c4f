"""The public verbs as functions: engine, report and data put together."""
