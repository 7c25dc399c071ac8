"""Jobs between two database families: each module joins the adapters of one source and one target."""
