"""Other services that a server speaks to: an identity service, mail, webhooks, collectors of logs."""
