"""From a log of events (who, what, when) to interactions: a row a session, with history and targets."""
