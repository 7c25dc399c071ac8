"""One module per resource; each offers a table of `Route` values for `towline.api.app`."""
