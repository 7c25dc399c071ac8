"""Two small applications as people write them, once for MySQL and MariaDB, once for PostgreSQL: films for rent, staff.

Both forms get the same rows, as far as their types are the same.
"""

from __future__ import annotations

from typing import Final

_RATINGS: Final = ("G", "PG", "PG-13", "R")
_FEATURES: Final = ("", "trailer", "trailer,cuts", "cuts,comments", "comments")
_TITLES: Final = ("Engineer", "Senior Engineer", "Manager")
_FILM_COLUMNS: Final = (
    "film_id, title, about, released, language_id, original_id, days, rate, rating, features, details"
)


def _insert(table: str, columns: str, rows: list[str]) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join(f'({row})' for row in rows)}"


def _or_null(value: str, *, is_null: int) -> str:
    return "NULL" if is_null else value


def _films(*, features: str) -> list[str]:
    """`features` is the form of a list of words, with a gap."""
    rows = []
    for n in range(1, 13):
        about = _or_null(f"'a tale of {n} ships'", is_null=n % 4 == 0)
        original = _or_null(str(1 + n % 2), is_null=n % 3)
        chosen = features.format(_FEATURES[n % 5])
        details = f'{{"discs": {n % 3}, "tags": ["x{n}", null]}}'
        rows.append(
            f"{n}, 'The {n}. harbour''s é', {about}, {1990 + n}, {1 + n % 3}, {original}, {3 + n % 5}, {n}.99, "
            f"'{_RATINGS[n % 4]}', '{chosen}', '{details}'"
        )
    return rows


def _rest_of_films(*, places: tuple[str, str]) -> list[str]:
    inventory = [(item, 1 + item % 12, 1 + item % 2) for item in range(1, 25)]
    customers = [f"{n}, 'Ann {n}', 'ann{n}@example.org', {n % 2}, '2023-05-{n:02} 10:11:12'" for n in range(1, 9)]
    rentals = []
    for n in range(1, 21):
        returned = _or_null(f"'2024-02-{n:02} 00:00:00'", is_null=n % 5 == 0)
        rentals.append(f"{n}, '2024-01-{n:02} 0{n % 10}:00:00', {n}, {1 + n % 8}, {returned}")
    return [
        _insert("actor", "actor_id, name", [f"{n}, 'Actor {n}'" for n in range(1, 7)]),
        _insert("film_actor", "actor_id, film_id", [f"{1 + (n + k) % 6}, {n}" for n in range(1, 13) for k in (0, 2)]),
        _insert("store", "store_id, street, place", [f"{n}, 'Quay {n}', {place}" for n, place in enumerate(places, 1)]),
        _insert("inventory", "inventory_id, film_id, store_id", [f"{a}, {b}, {c}" for a, b, c in inventory]),
        _insert("customer", "customer_id, name, email, active, created", customers),
        _insert("rental", "rental_id, rented, inventory_id, customer_id, returned", rentals),
        _insert("payment", "rental_id, amount", [f"{n}, {n}.50" for n in range(1, 21) if n % 3]),
    ]


def _staff() -> list[str]:
    numbers = range(10_001, 10_011)
    people = [f"{n}, '19{n % 60 + 40}-0{n % 9 + 1}-11', 'First {n}', '{'MFX'[n % 3]}', '2001-02-03'" for n in numbers]
    years = [(n, year) for n in numbers for year in (2001, 2005, 2011)]
    titles = []
    for n, year in years:
        until = _or_null("'2015-01-01'", is_null=n % 2)
        titles.append(f"{n}, '{_TITLES[year % 3]}', '{year}-02-03', {until}")
    return [
        _insert("departments", "dept_no, dept_name", [f"'d00{n}', 'Department {n}'" for n in range(1, 4)]),
        _insert("employees", "emp_no, born, first_name, gender, hired", people),
        _insert(
            *("dept_emp", "emp_no, dept_no, since, until"),
            [f"{n}, 'd00{n % 3 + 1}', '2001-02-03', '9999-01-01'" for n in numbers],
        ),
        _insert("titles", "emp_no, title, since, until", titles),
        _insert(
            *("salaries", "emp_no, salary, since, until"),
            [f"{n}, {40_000 + 7 * n % 9_999 + year}, '{year}-02-03', '{year + 4}-02-02'" for n, year in years],
        ),
    ]


MYSQL_SAMPLES: Final = (
    "CREATE TABLE language (language_id tinyint unsigned AUTO_INCREMENT PRIMARY KEY, name char(20) NOT NULL)",
    """CREATE TABLE film (
        film_id smallint unsigned AUTO_INCREMENT PRIMARY KEY, title varchar(128) NOT NULL, about text,
        released year, language_id tinyint unsigned NOT NULL, original_id tinyint unsigned,
        days tinyint unsigned NOT NULL DEFAULT 3, rate decimal(4,2) NOT NULL DEFAULT 4.99,
        rating enum('G','PG','PG-13','R') DEFAULT 'G', features set('trailer','cuts','comments'), details json,
        updated timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        a_day decimal(6,4) GENERATED ALWAYS AS (rate / days) STORED,
        KEY title (title), KEY language (language_id),
        CONSTRAINT film_language FOREIGN KEY (language_id) REFERENCES language (language_id) ON UPDATE CASCADE,
        CONSTRAINT film_original FOREIGN KEY (original_id) REFERENCES language (language_id) ON DELETE SET NULL,
        CONSTRAINT has_days CHECK (days > 0))""",
    """CREATE TABLE film_text (film_id smallint PRIMARY KEY, title varchar(255), about text,
        FULLTEXT KEY title_about (title, about))""",
    """CREATE TRIGGER film_added AFTER INSERT ON film FOR EACH ROW
        INSERT INTO film_text (film_id, title, about) VALUES (NEW.film_id, NEW.title, NEW.about)""",
    "CREATE TABLE actor (actor_id smallint unsigned AUTO_INCREMENT PRIMARY KEY, name varchar(45) NOT NULL)",
    """CREATE TABLE film_actor (actor_id smallint unsigned, film_id smallint unsigned, PRIMARY KEY (actor_id, film_id),
        FOREIGN KEY (actor_id) REFERENCES actor (actor_id), FOREIGN KEY (film_id) REFERENCES film (film_id))""",
    "CREATE TABLE store (store_id tinyint PRIMARY KEY, street varchar(50), place point NOT NULL, SPATIAL KEY (place))",
    """CREATE TABLE inventory (inventory_id mediumint unsigned AUTO_INCREMENT PRIMARY KEY, film_id smallint unsigned,
        store_id tinyint, KEY both_ids (store_id, film_id),
        FOREIGN KEY (film_id) REFERENCES film (film_id), FOREIGN KEY (store_id) REFERENCES store (store_id))""",
    """CREATE TABLE customer (customer_id int AUTO_INCREMENT PRIMARY KEY, name varchar(45), email varchar(50),
        active bool NOT NULL DEFAULT TRUE, created datetime NOT NULL, UNIQUE KEY email (email))""",
    """CREATE TABLE rental (rental_id int AUTO_INCREMENT PRIMARY KEY, rented datetime NOT NULL,
        inventory_id mediumint unsigned NOT NULL, customer_id int NOT NULL, returned datetime,
        UNIQUE KEY once (rented, inventory_id, customer_id),
        FOREIGN KEY (inventory_id) REFERENCES inventory (inventory_id),
        FOREIGN KEY (customer_id) REFERENCES customer (customer_id))""",
    """CREATE TABLE payment (payment_id int AUTO_INCREMENT PRIMARY KEY, rental_id int, amount decimal(5,2) NOT NULL,
        FOREIGN KEY (rental_id) REFERENCES rental (rental_id) ON DELETE SET NULL)""",
    """CREATE VIEW film_list AS SELECT f.film_id, f.title, l.name AS language,
        GROUP_CONCAT(a.name ORDER BY a.name SEPARATOR ', ') AS actors
        FROM film f JOIN language l ON l.language_id = f.language_id LEFT JOIN film_actor fa ON fa.film_id = f.film_id
        LEFT JOIN actor a ON a.actor_id = fa.actor_id GROUP BY f.film_id, f.title, l.name""",
    """CREATE VIEW by_store AS SELECT i.store_id, SUM(p.amount) AS total FROM payment p
        JOIN rental r ON r.rental_id = p.rental_id JOIN inventory i USING (inventory_id) GROUP BY i.store_id""",
    """CREATE FUNCTION is_in (item int) RETURNS tinyint READS SQL DATA
        BEGIN
            DECLARE open_rentals int;
            SELECT COUNT(*) INTO open_rentals FROM rental WHERE inventory_id = item AND returned IS NULL;
            RETURN IF(open_rentals > 0, 0, 1);
        END""",
    """CREATE PROCEDURE film_in_stock (IN film int, OUT found int) READS SQL DATA
        SELECT COUNT(*) INTO found FROM inventory WHERE film_id = film AND is_in(inventory_id)""",
    "CREATE TABLE departments (dept_no char(4) PRIMARY KEY, dept_name varchar(40) NOT NULL, UNIQUE KEY (dept_name))",
    """CREATE TABLE employees (emp_no int PRIMARY KEY, born date NOT NULL, first_name varchar(14) NOT NULL,
        gender enum('M','F','X') NOT NULL, hired date NOT NULL)""",
    """CREATE TABLE dept_emp (emp_no int, dept_no char(4), since date NOT NULL, until date NOT NULL,
        PRIMARY KEY (emp_no, dept_no), KEY (dept_no),
        FOREIGN KEY (emp_no) REFERENCES employees (emp_no) ON DELETE CASCADE,
        FOREIGN KEY (dept_no) REFERENCES departments (dept_no) ON DELETE CASCADE)""",
    """CREATE TABLE titles (emp_no int, title varchar(50), since date, until date, PRIMARY KEY (emp_no, title, since),
        FOREIGN KEY (emp_no) REFERENCES employees (emp_no) ON DELETE CASCADE)""",
    """CREATE TABLE salaries (emp_no int, salary int NOT NULL, since date, until date NOT NULL,
        PRIMARY KEY (emp_no, since)) PARTITION BY RANGE COLUMNS (since) (
        PARTITION p2005 VALUES LESS THAN ('2005-01-01'), PARTITION p2010 VALUES LESS THAN ('2010-01-01'),
        PARTITION rest VALUES LESS THAN (MAXVALUE))""",
    "CREATE VIEW latest AS SELECT emp_no, MAX(since) AS since, MAX(until) AS until FROM dept_emp GROUP BY emp_no",
    """CREATE VIEW current_dept AS SELECT l.emp_no, d.dept_no, l.since, l.until FROM dept_emp d
        JOIN latest l ON d.emp_no = l.emp_no AND d.since = l.since AND l.until = d.until""",
    _insert("language", "language_id, name", ["1, 'English'", "2, 'Français'", "3, '日本語'"]),
    _insert("film", _FILM_COLUMNS, _films(features="{}")),
    *_rest_of_films(places=("ST_GeomFromText('POINT(1.5 2)')", "ST_GeomFromText('POINT(-3 4)')")),
    *_staff(),
)

POSTGRES_SAMPLES: Final = (
    "CREATE TYPE rating AS ENUM ('G', 'PG', 'PG-13', 'R')",
    "CREATE DOMAIN release_year AS integer CHECK (VALUE BETWEEN 1901 AND 2155)",
    "CREATE TABLE language (language_id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name char(20) NOT NULL)",
    """CREATE TABLE film (
        film_id serial PRIMARY KEY, title varchar(128) NOT NULL, about text,
        released release_year, language_id integer NOT NULL REFERENCES language ON UPDATE CASCADE,
        original_id integer REFERENCES language ON DELETE SET NULL,
        days smallint NOT NULL DEFAULT 3 CONSTRAINT has_days CHECK (days > 0), rate numeric(4,2) NOT NULL DEFAULT 4.99,
        rating rating DEFAULT 'G', features text[], details jsonb, updated timestamptz NOT NULL DEFAULT now(),
        words tsvector)""",
    "CREATE INDEX title ON film (title)",
    "CREATE INDEX lower_title ON film (lower(title))",
    "CREATE INDEX words ON film USING gin (words)",
    "CREATE INDEX cheap ON film (film_id) WHERE rate < 5",
    "CREATE TABLE film_text (film_id integer PRIMARY KEY, title varchar(255), about text)",
    """CREATE FUNCTION film_added() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.words := to_tsvector('english', NEW.title || ' ' || coalesce(NEW.about, ''));
            INSERT INTO film_text (film_id, title, about) VALUES (NEW.film_id, NEW.title, NEW.about);
            RETURN NEW;
        END $$""",
    "CREATE TRIGGER film_added BEFORE INSERT ON film FOR EACH ROW EXECUTE FUNCTION film_added()",
    "CREATE TABLE actor (actor_id serial PRIMARY KEY, name varchar(45) NOT NULL)",
    """CREATE TABLE film_actor (actor_id int REFERENCES actor, film_id int REFERENCES film,
        PRIMARY KEY (actor_id, film_id))""",
    "CREATE TABLE store (store_id smallint PRIMARY KEY, street varchar(50), place point NOT NULL)",
    "CREATE INDEX place ON store USING gist (place)",
    """CREATE TABLE inventory (inventory_id serial PRIMARY KEY, film_id int REFERENCES film,
        store_id smallint REFERENCES store)""",
    """CREATE TABLE customer (customer_id serial PRIMARY KEY, name varchar(45), email varchar(50) UNIQUE,
        active integer NOT NULL DEFAULT 1, created timestamp NOT NULL)""",
    """CREATE TABLE rental (rental_id serial PRIMARY KEY, rented timestamp NOT NULL,
        inventory_id int NOT NULL REFERENCES inventory, customer_id int NOT NULL REFERENCES customer,
        returned timestamp, UNIQUE (rented, inventory_id, customer_id))""",
    """CREATE TABLE payment (payment_id bigserial PRIMARY KEY, rental_id int REFERENCES rental ON DELETE SET NULL,
        amount numeric(5,2) NOT NULL)""",
    """CREATE VIEW film_list AS SELECT f.film_id, f.title, string_agg(a.name, ', ' ORDER BY a.name) AS actors
        FROM film f LEFT JOIN film_actor fa USING (film_id) LEFT JOIN actor a USING (actor_id) GROUP BY 1, 2""",
    "CREATE TABLE departments (dept_no char(4) PRIMARY KEY, dept_name varchar(40) NOT NULL UNIQUE)",
    "CREATE TYPE gender AS ENUM ('M', 'F', 'X')",
    """CREATE TABLE employees (emp_no int PRIMARY KEY, born date NOT NULL, first_name varchar(14) NOT NULL,
        gender gender NOT NULL, hired date NOT NULL)""",
    """CREATE TABLE dept_emp (emp_no int REFERENCES employees ON DELETE CASCADE,
        dept_no char(4) REFERENCES departments ON DELETE CASCADE, since date NOT NULL, until date NOT NULL,
        during daterange GENERATED ALWAYS AS (daterange(since, until)) STORED, PRIMARY KEY (emp_no, dept_no))""",
    """CREATE TABLE titles (emp_no int REFERENCES employees ON DELETE CASCADE, title varchar(50), since date,
        until date, PRIMARY KEY (emp_no, title, since))""",
    """CREATE TABLE salaries (emp_no int, salary int NOT NULL, since date, until date NOT NULL,
        PRIMARY KEY (emp_no, since)) PARTITION BY RANGE (since)""",
    "CREATE TABLE salaries_2010 PARTITION OF salaries FOR VALUES FROM (MINVALUE) TO ('2010-01-01')",
    "CREATE TABLE salaries_rest PARTITION OF salaries DEFAULT",
    "CREATE VIEW latest AS SELECT emp_no, max(since) AS since, max(until) AS until FROM dept_emp GROUP BY emp_no",
    _insert("language", "language_id, name", ["1, 'English'", "2, 'Français'", "3, '日本語'"]),
    _insert("film", _FILM_COLUMNS, _films(features="{{{}}}")),
    *_rest_of_films(places=("'(1.5,2)'", "'(-3,4)'")),
    *_staff(),
)
