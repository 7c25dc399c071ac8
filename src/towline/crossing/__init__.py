"""Jobs between databases of different families: what joins two adapters that do not know each other."""
