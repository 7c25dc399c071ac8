"""What every test may use."""

pytest_plugins = ["tests.servers.fixtures", "tests.servers.mysql_fixtures"]
