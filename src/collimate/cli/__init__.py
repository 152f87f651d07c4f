"""The command line: `collimate train|score|check|cache|report|methods|explain|cite|export|demo`.

One file per command, imported only when it is asked for: torch and transformers take seconds.
"""
