"""What is returned is the answer: a text, bytes, a generator of either, or {"statusCode": ..., "headers": ..., "body": ...}."""


def main(event, context):
    name = event.query.get("name") or event.body.strip() or "world"
    print(f"greeting {name}")  # to the log: fnctl logs @NAME@
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain; charset=utf-8"}, "body": f"Hello {name}!\n"}
