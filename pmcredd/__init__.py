"""pmcredd keeps fresh ProcessMaker access tokens and hands them out over a Unix socket."""
