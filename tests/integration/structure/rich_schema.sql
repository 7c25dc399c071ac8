-- Every kind of object that a database of versions 15 to 18 may hold, with names that need quotes.
-- Roles: @owner@ and @reader@ exist on both servers, @missing@ on the source only.

CREATE SCHEMA app;
CREATE SCHEMA "Odd Schema";
ALTER SCHEMA app OWNER TO @owner@;
COMMENT ON SCHEMA app IS 'it''s the application';

-- types
CREATE TYPE app.mood AS ENUM ('sad', 'so so', 'happy');
CREATE TYPE app.address AS (street text, "house no" int, tags text[]);
CREATE DOMAIN app.positive AS int DEFAULT 1 CONSTRAINT is_positive CHECK (VALUE > 0);
CREATE DOMAIN app.postcode AS text COLLATE "C" NOT NULL CHECK (VALUE ~ '^\d{4}$');
CREATE TYPE app.floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION app.german (lc_collate = 'C', lc_ctype = 'C.UTF-8');
COMMENT ON TYPE app.mood IS 'how one feels';

-- functions, operators, aggregates, casts
CREATE FUNCTION app.add_positive(a app.positive, b app.positive) RETURNS app.positive
    LANGUAGE sql IMMUTABLE STRICT RETURN a + b;
SET check_function_bodies = off;
CREATE FUNCTION app.calls_later() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM app.orders';
CREATE FUNCTION app."Größe; 'x'"(a int DEFAULT 5, VARIADIC b text[] DEFAULT '{}') RETURNS text
    LANGUAGE plpgsql AS $body$
BEGIN
    -- a semicolon; and a "quote"
    RETURN 'size;' || a;
END
$body$;
CREATE PROCEDURE app.tidy(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
CREATE FUNCTION app.even(n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN n = 0 OR app.odd(n - 1); END $$;
CREATE FUNCTION app.odd(n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN n <> 0 AND app.even(n - 1); END $$;
CREATE FUNCTION app.mood_text(app.mood) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'mood';
CREATE FUNCTION app.near(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN abs($1 - $2) < 2;
CREATE OPERATOR app.~=~ (LEFTARG = int, RIGHTARG = int, FUNCTION = app.near, COMMUTATOR = OPERATOR(app.~=~));
CREATE AGGREGATE app.product(float8) (SFUNC = float8mul, STYPE = float8, INITCOND = '1');
CREATE FUNCTION app.compare(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE RETURN CASE WHEN a > b THEN -1 WHEN a < b THEN 1 ELSE 0 END;
CREATE OPERATOR FAMILY app.backwards_family USING btree;
CREATE OPERATOR CLASS app.backwards FOR TYPE int USING btree FAMILY app.backwards_family AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 app.compare(int, int);
CREATE CAST (app.mood AS text) WITH FUNCTION app.mood_text(app.mood) AS ASSIGNMENT;
CREATE TEXT SEARCH CONFIGURATION app.plain (COPY = pg_catalog.simple);
CREATE TEXT SEARCH DICTIONARY app.stem (TEMPLATE = pg_catalog.snowball, LANGUAGE = 'english');
ALTER FUNCTION app.even(int) OWNER TO @owner@;
REVOKE EXECUTE ON FUNCTION app.even(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.even(int) TO @reader@, @missing@;

-- plain tables
CREATE SEQUENCE app.free_numbers START 100 INCREMENT 7 MAXVALUE 9999 CYCLE;
CREATE TABLE app.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number int NOT NULL DEFAULT nextval('app.free_numbers'),
    name text COLLATE app.german NOT NULL,
    home app.address,
    feels app.mood DEFAULT 'happy',
    rank app.positive,
    zip app.postcode,
    moods app.mood[],
    shape app.floatrange,
    born date CHECK (born > '1900-01-01'),
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
    is_even boolean GENERATED ALWAYS AS (app.even(number)) STORED,
    CONSTRAINT name_not_empty CHECK (name <> '')
) WITH (fillfactor = 90);
ALTER TABLE app.customers ALTER COLUMN name SET STORAGE EXTERNAL, ALTER COLUMN name SET STATISTICS 500;
CREATE TABLE app.orders (
    id serial PRIMARY KEY,
    customer bigint NOT NULL,
    parent int REFERENCES app.orders (id),
    total numeric(12, 2) DEFAULT 0.00,
    period tstzrange,
    attributes jsonb NOT NULL DEFAULT '{}',
    UNIQUE (customer, id) DEFERRABLE INITIALLY DEFERRED,
    EXCLUDE USING gist (period WITH &&) WHERE (total > 0)
);
ALTER TABLE app.orders ADD CONSTRAINT orders_customer FOREIGN KEY (customer) REFERENCES app.customers
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE app.customers ADD COLUMN last_order int CONSTRAINT customers_last_order REFERENCES app.orders (id);
ALTER TABLE app.orders ADD CONSTRAINT not_yet_valid CHECK (total < 1000000) NOT VALID;
CREATE TABLE app.by_index (code text NOT NULL, other text);
CREATE UNIQUE INDEX by_index_code ON app.by_index (code);
ALTER TABLE app.by_index REPLICA IDENTITY USING INDEX by_index_code;
CREATE TABLE app.no_key (a int, b text);
ALTER TABLE app.no_key REPLICA IDENTITY FULL;
CREATE UNLOGGED TABLE app.scratch (a int PRIMARY KEY);
CREATE TABLE "Odd Schema"."Table; ""with"" quotes" ("Column 1" int PRIMARY KEY, "größe" text, "select" int);
CREATE INDEX "an ""index""" ON "Odd Schema"."Table; ""with"" quotes" ("größe", "select" DESC NULLS LAST);
CREATE TABLE app.dropped_column (a int, gone text, c int);
ALTER TABLE app.dropped_column DROP COLUMN gone;
CREATE TABLE app.typed OF app.address;

-- inheritance and partitions
CREATE TABLE app.base (id int PRIMARY KEY, what text CHECK (what <> 'x'));
CREATE TABLE app.derived (extra int) INHERITS (app.base);
CREATE TABLE app.events (at timestamptz NOT NULL, kind text, payload jsonb, PRIMARY KEY (at, kind))
    PARTITION BY RANGE (at);
CREATE TABLE app.events_2024 PARTITION OF app.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    PARTITION BY LIST (kind);
CREATE TABLE app.events_2025_a PARTITION OF app.events_2025 FOR VALUES IN ('a', 'b');
CREATE TABLE app.events_2025_rest PARTITION OF app.events_2025 DEFAULT;
CREATE TABLE app.events_rest PARTITION OF app.events DEFAULT;
CREATE INDEX events_payload ON app.events USING gin (payload);
CREATE INDEX events_2024_only ON app.events_2024 (kind) WHERE kind <> 'a';
CREATE TABLE app.spread (id int, v text) PARTITION BY HASH (id);
CREATE TABLE app.spread_0 PARTITION OF app.spread FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.spread_1 PARTITION OF app.spread FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.event_notes (id int PRIMARY KEY, at timestamptz, kind text,
    FOREIGN KEY (at, kind) REFERENCES app.events);

-- indexes and statistics
CREATE INDEX customers_lower ON app.customers (lower(name) text_pattern_ops) INCLUDE (number);
CREATE INDEX customers_backwards ON app.customers USING btree (number app.backwards);
CREATE INDEX orders_attributes ON app.orders USING gin (attributes jsonb_path_ops);
CREATE UNIQUE INDEX orders_cluster ON app.orders (total, id);
ALTER TABLE app.orders CLUSTER ON orders_cluster;
CREATE STATISTICS app.customers_stats (dependencies, ndistinct) ON number, name FROM app.customers;
ALTER STATISTICS app.customers_stats SET STATISTICS 300;
COMMENT ON INDEX app.customers_lower IS 'for search';

-- views
CREATE VIEW app.happy AS SELECT id, name FROM app.customers WHERE feels = 'happy';
CREATE VIEW app.happier WITH (security_barrier) AS SELECT * FROM app.happy WHERE name LIKE 'a%' WITH LOCAL CHECK OPTION;
CREATE VIEW app.grouped AS SELECT c.id, c.name, count(*) AS orders
    FROM app.customers c JOIN app.orders o ON o.customer = c.id GROUP BY c.id;
CREATE RECURSIVE VIEW app.tree (id, depth) AS
    SELECT id, 0 FROM app.orders WHERE parent IS NULL UNION ALL
    SELECT o.id, t.depth + 1 FROM app.orders o JOIN tree t ON t.id = o.parent;
CREATE MATERIALIZED VIEW app.totals AS SELECT customer, sum(total) AS total FROM app.orders GROUP BY customer;
CREATE UNIQUE INDEX totals_customer ON app.totals (customer);
CREATE MATERIALIZED VIEW app.top AS SELECT * FROM app.totals WHERE total > 10;
CREATE INDEX top_total ON app.top (total);
CREATE MATERIALIZED VIEW app.of_grouped AS SELECT * FROM app.grouped;
CREATE MATERIALIZED VIEW app.never_filled AS SELECT 1 AS one WITH NO DATA;
COMMENT ON COLUMN app.top.total IS 'in euros';
ALTER MATERIALIZED VIEW app.totals OWNER TO @owner@;
GRANT SELECT ON app.orders TO @owner@;

-- triggers, rules, policies
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF total ON app.orders FOR EACH ROW
    WHEN (new.total > 0) EXECUTE FUNCTION app.touch();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON app.orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER touch AFTER INSERT ON app.events FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.orders DISABLE TRIGGER checked;
CREATE RULE no_delete AS ON DELETE TO app.no_key DO INSTEAD NOTHING;
CREATE RULE "_INSERT" AS ON INSERT TO app.happy DO INSTEAD INSERT INTO app.no_key VALUES (1, new.name);
ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.customers FOR SELECT TO @reader@ USING (name = current_user);
CREATE POLICY loose ON app.customers AS RESTRICTIVE USING (true) WITH CHECK (number > 0);

-- owners and grants
ALTER TABLE app.customers OWNER TO @owner@;
ALTER TABLE app.no_key OWNER TO @missing@;
GRANT SELECT, INSERT (name) ON app.customers TO @reader@ WITH GRANT OPTION;
GRANT SELECT ON ALL TABLES IN SCHEMA "Odd Schema" TO PUBLIC;
GRANT USAGE ON SCHEMA app TO @reader@, @missing@;
GRANT USAGE ON SEQUENCE app.free_numbers TO @reader@;
GRANT SELECT ON app.orders TO @missing@;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO @reader@;
COMMENT ON TABLE app.orders IS E'first line\nsecond; line';
COMMENT ON COLUMN app.customers."name" IS 'who';
COMMENT ON CONSTRAINT name_not_empty ON app.customers IS 'needed';
COMMENT ON TRIGGER touch ON app.orders IS 'touched';
COMMENT ON FUNCTION app.even(int) IS 'recursive';
COMMENT ON MATERIALIZED VIEW app.top IS 'the best';

-- other servers
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER far FOREIGN DATA WRAPPER elsewhere OPTIONS (host 'far.example');
CREATE FOREIGN TABLE app.remote (a int, b text) SERVER far OPTIONS (name 'r');
CREATE PUBLICATION not_copied FOR TABLE app.orders;

-- content
INSERT INTO app.customers (name, zip, rank) SELECT 'name ' || g, '1234', g FROM generate_series(1, 50) g;
INSERT INTO app.orders (customer, total) SELECT c.id, c.number - 90 FROM app.customers c WHERE c.number < 101;
INSERT INTO app.orders (customer, total) SELECT c.id, -1 FROM app.customers c;
REFRESH MATERIALIZED VIEW app.totals;
REFRESH MATERIALIZED VIEW app.top;
REFRESH MATERIALIZED VIEW app.of_grouped;
SELECT setval('app.free_numbers', 800, false);

-- last, or it would fire above
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER @event@ ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION app.watch();
COMMENT ON EVENT TRIGGER @event@ IS 'watches';
