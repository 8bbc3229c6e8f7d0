"""What the API says with an answer that is no success."""

import json

import pytest

from pmcredd.api_answer import explain, name, page_title
from pmcredd.dialects import Answer
from pmcredd.profiles import Grant, Profile
from pmcredd.secret import Secret

PROFILE = Profile("prod", "https://acme.example", Grant.PASSWORD)
URL = "https://acme.example/api/1.0/users/7?secret=geheim"
TOKEN = Secret("eyJ0.the-token")


def answer(status: int, body: object = "", **headers: str) -> Answer:
    """Make an answer; what is no text is sent as JSON."""
    kind = "text/html; charset=UTF-8" if isinstance(body, str) else "application/json"
    text = body if isinstance(body, str) else json.dumps(body)
    return Answer(
        status, {"content-type": kind, **{key.replace("_", "-"): headers[key] for key in headers}}, text.encode()
    )


@pytest.mark.parametrize(
    ("got", "told", "mend"),
    [
        (answer(401, {"error": "Unauthenticated."}), "401 Unauthorized: Unauthenticated.", ""),
        (answer(401, {"error": {"code": 401, "message": "Unauthorized"}}), "401 Unauthorized", ""),
        (answer(403, {"message": "Not yours."}), "403 Forbidden: Not yours.", "another token of this one"),
        (answer(404, {"error": "Not Found"}), "404 Not Found", "relative to https://acme.example/api/1.0, and"),
        (answer(405, {"message": "Nope."}, allow="GET, HEAD"), "405 Method Not Allowed: Nope.", "GET, HEAD, which it"),
        (answer(405), "405 Method Not Allowed", ""),
        (answer(415), "415 Unsupported Media Type", "--header 'Content-Type: ...'"),
        (answer(429, retry_after="20"), "429 Too Many Requests", "again after 20 s"),
        (answer(503, retry_after="Wed, 21 Oct 2026"), "503 Service Unavailable", "again after Wed, 21 Oct 2026"),
        (answer(503, "<title>Service Unavailable</title>"), "503 Service Unavailable", "again"),
        (answer(500, {"message": "Server Error"}), "500 Internal Server Error", "the server's own log"),
        (answer(502, "<title>Bad\n gateway (7)</title>"), '502 Bad Gateway: a web page, "Bad gateway (7)"', "own log"),
        (answer(418, ["no object"]), "418 I'm a Teapot", ""),
        (answer(599, {"message": 7}), "599", ""),
        (answer(302, location="/login?a=geheim"), "302 Found, which leads to https://acme.example/login", "again"),
        (answer(302, location="//new.example?b=geheim"), "302 Found, which leads to https://new.example", "call that"),
        (answer(302, location="http://[:"), "302 Found, which leads nowhere", ""),
        (answer(302, location="mailto:a@b.example"), "302 Found, which leads nowhere", ""),
        (answer(304), "304 Not Modified", ""),
    ],
)  # fmt: skip
def test_each_answer_is_told_with_what_was_tried_and_what_helps(got: Answer, told: str, mend: str) -> None:
    """In one line: the request, where it went, the status in HTTP's words, the server's own."""
    trouble = explain(PROFILE, "GET", URL, got, [TOKEN])
    assert trouble.sentence == f"GET /api/1.0/users/7 at acme.example gave {told}"
    assert (mend in trouble.mend) if mend else (trouble.mend == "")
    assert trouble.details == ()
    assert "geheim" not in str(trouble)


def test_a_refused_form_is_told_field_by_field() -> None:
    """Not twice, where the message is that of the first field; long lists are cut."""
    errors = {"name": ["The name field is required."], "age": ["Too young.", "Too old."], "x": "odd"}
    trouble = explain(PROFILE, "POST", URL, answer(422, {"message": errors["name"][0], "errors": errors}), [TOKEN])
    assert trouble.sentence.endswith("gave 422 " + name(422)[4:])
    assert trouble.details == ("name: The name field is required.", "age: Too young. Too old.", "x: odd")
    assert trouble.mend == "correct --data"
    many = {str(number): [f"wrong {number}"] for number in range(14)}
    long = explain(PROFILE, "POST", URL, answer(422, {"message": "The given data was invalid.", "errors": many}), [])
    assert long.sentence.endswith(": The given data was invalid.")
    assert (len(long.details), long.details[-1]) == (11, "and 4 more")


def test_a_gateway_says_nothing_about_what_the_instance_did() -> None:
    """Who sends again what was done has it done twice."""
    for method, mend in (("POST", "look whether it was done"), ("GET", "again later")):
        assert mend in explain(PROFILE, method, URL, answer(504), [TOKEN]).mend


def test_what_the_server_repeats_is_no_way_out_for_the_token() -> None:
    """Nor for what a terminal obeys: wherever a server puts it."""
    evil = f"{TOKEN.reveal()} \x1b[2J\r\npmcred: all is well"
    for got in (
        answer(400, {"message": evil}),
        answer(400, f"<title>{evil}</title>"),
        answer(422, {"message": "", "errors": {evil: [evil]}}),
        answer(405, allow=evil),
        answer(503, retry_after=evil),
        answer(302, location=f"/x/{TOKEN.reveal()}"),
    ):
        trouble = explain(PROFILE, "GET", URL, got, [TOKEN])
        told = "".join([trouble.sentence, *trouble.details, trouble.mend])
        assert TOKEN.reveal() not in told
        assert told.isprintable()


def test_the_path_may_hold_a_secret_too() -> None:
    """Such as ProcessMaker 3's way of revoking a token."""
    trouble = explain(PROFILE, "DELETE", f"https://acme.example/api/1.0/{TOKEN.reveal()}", answer(404), [TOKEN])
    assert trouble.sentence == "DELETE /api/1.0/**** at acme.example gave 404 Not Found"


def test_a_page_has_a_title_and_json_has_none() -> None:
    """So a page can be told by it."""
    assert page_title(answer(200, "<title>Log in</title>")) == "Log in"
    assert page_title(answer(200, {"message": "x"})) == ""
