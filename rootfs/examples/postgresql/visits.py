"""Counts who called, in a PostgreSQL database. Where it is say [env] and [network] services of function.ini, its password is the secret db-password."""
import json

import psycopg2

TABLE = "create table if not exists visits (name text primary key, number bigint not null)"
COUNT = "insert into visits values (%s, 1) on conflict (name) do update set number = visits.number + 1 returning number"
connection = None


def connected(password):
    """The connection of the call before, where it still is one: another would cost more than the question."""
    global connection
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except (AttributeError, psycopg2.OperationalError, psycopg2.InterfaceError):
        connection = psycopg2.connect(password=password, connect_timeout=3, application_name="visits")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(TABLE)
    return connection


def main(event, context):
    name = event.query.get("name", "world")
    try:
        with connected(context["db-password"]).cursor() as cursor:
            cursor.execute(COUNT, (name,))  # the name is a value, never a part of the statement
            number = cursor.fetchone()[0]
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as e:
        print("the database does not answer:", str(e).strip())  # to the log: fnctl logs postgresql
        return {"statusCode": 503, "headers": {"Retry-After": "3"}, "body": "the database does not answer\n"}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps({"name": name, "visits": number}) + "\n"}
