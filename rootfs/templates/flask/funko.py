"""A Flask application. GET /ping is answered before it comes here."""
from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index():
    return app.send_static_file("index.html")


@app.post("/greet")
def greet():
    name = request.form.get("name", "").strip() or "world"
    app.logger.warning("greeting %s", name)  # to the log: fnctl logs @NAME@
    return {"text": f"Hello {name}!"}
