"""A greeting: an event comes in, a dictionary with the answer goes out."""
import os


def main(event, context):
    name = event["query"].get("name", "world")
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain; charset=utf-8"}, "body": f"{os.environ['GREETING']} {name}, from Python\n"}
