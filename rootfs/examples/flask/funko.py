"""A guest book in Flask. It is kept in /tmp, and gone with the instance: a volume ([volumes] in function.ini) would keep it."""
from flask import Flask, redirect, render_template, request, url_for

app = Flask(__name__)
BOOK = "/tmp/book.txt"


def entries():
    try:
        with open(BOOK, encoding="utf-8") as book:
            return book.read().splitlines()
    except FileNotFoundError:
        return []


@app.get("/")
def index():
    return render_template("index.html", entries=entries())


@app.get("/entries")
def as_json():
    return {"entries": entries()}


@app.post("/sign")
def sign():
    name = " ".join(request.form.get("name", "").split())[:80]
    if not name:
        return {"error": "a name is needed: name=..."}, 400
    with open(BOOK, "a", encoding="utf-8") as book:
        book.write(name + "\n")
    app.logger.warning("signed by %s", name)  # to the log: fnctl logs flask
    if request.accept_mimetypes.best == "text/html":
        return redirect(url_for("index"), 303)  # knows where the function is reached from outside
    return {"signed": name}, 201
