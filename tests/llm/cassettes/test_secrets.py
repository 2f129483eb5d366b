"""What is a secret, and what only looks a little like one."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.llm.cassettes.secrets import Secrets

ALPHABET = string.ascii_letters + string.digits


def drawn(length, seed=0, letters=ALPHABET):
    return "".join(random.Random(seed).choices(letters, k=length))


def web(data):
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


KEYS = {
    "an Anthropic key": f"sk-ant-api03-{drawn(93)}AA",
    "an API key": f"sk-proj-{drawn(48)}",
    "an AWS key": f"AKIA{drawn(16, letters=string.ascii_uppercase + '234567')}",
    "a GitHub token": f"ghp_{drawn(36)}",
    "a Hugging Face token": f"hf_{drawn(34)}",
    "a Google key": f"AIza{drawn(35)}",
    "a Slack token": f"xoxb-{drawn(12, letters=string.digits)}-{drawn(24)}",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "a JSON web token": f"{web({'alg': 'HS256'})}.{web({'sub': '1234567890'})}.{drawn(43)}",
    "a bearer token": f"Authorization: Bearer {drawn(40)}",
}
OTHERS = {
    "an API key": [f"sk-{drawn(48)}", f"sk-or-v1-{hashlib.sha256(b'x').hexdigest()}"],
    "a GitHub token": [f"gho_{drawn(36)}", f"github_pat_{drawn(22)}_{drawn(59)}"],
    "a private key": ["-----BEGIN PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----"],
    "a bearer token": [f"bearer {drawn(32)}", f'-H "AUTHORIZATION: BEARER {drawn(32)}"'],
}
PROSE = [
    "A risk-based approach to task-oriented dialogue, with disk-backed storage and ask-me-anything sessions.",
    "Set ANTHROPIC_API_KEY to your key, which begins with sk-ant-, and never commit it.",
    "The placeholder is sk-ant-your-key-goes-here-please, or sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.",
    "Install sk-learn-compatible-estimators-for-everybody before you go on.",
    "Amazon's example is AKIAIOSFODNN7EXAMPLE, and AKIA begins every access key.",
    "Send an Authorization header: Bearer <your-token>. A bearer authentication-and-authorization scheme is used.",
    "The bearer of this letter shall receive internationalization-and-localization services.",
    f"commit {hashlib.sha1(b'a', usedforsecurity=False).hexdigest()}, sha256:{hashlib.sha256(b'b').hexdigest()}",
    "id 123e4567-e89b-12d3-a456-426614174000, msg_01XFDUDYJgAACzvnptvVoYEL, req_011CSHoEeqs5C35K2UUqR7Fy",
    "xoxo-kisses-and-hugs-for-everyone, said the ghost; ghp_ is a prefix, hf_ is one too, eyJ begins a token.",
    "It begins with -----BEGIN CERTIFICATE-----, and -----BEGIN PUBLIC KEY----- follows; a PRIVATE KEY is apart.",
    "https://example.com/path?token=abc&key=def and postgresql://user:password@localhost/db are examples.",
]  # fmt: skip


@pytest.mark.parametrize("what", KEYS)
@pytest.mark.parametrize("around", ["{}", "the key is {}.", 'x-api-key: "{}"', "({})\n", "é{}é", "\n{}\t"])
def test_a_key_is_found_wherever_it_stands_in_a_text(what, around):
    assert Secrets().what(around.format(KEYS[what])) == what


@pytest.mark.parametrize(("what", "key"), [(what, key) for what, keys in OTHERS.items() for key in keys])
def test_other_shapes_of_a_key_are_found(what, key):
    assert Secrets().what(f"it says {key} here") == what


@pytest.mark.parametrize("text", PROSE)
def test_prose_about_keys_hashes_and_ids_is_no_secret(text):
    assert Secrets().what(text) is None


def test_no_vector_in_base64_looks_like_a_secret():
    vectors = np.random.default_rng(0).standard_normal((3000, 384)).astype(np.float32)
    packed = [base64.b64encode(row.tobytes()).decode() for row in vectors]
    assert {Secrets().what(text) for text in packed} == {None}
    runs = [base64.b64encode(random.Random(i).randbytes(40)).decode() for i in range(5000)]
    assert {Secrets().what(f"AKIA{run}") for run in runs} == {None}


@given(st.text(max_size=200))
def test_any_text_can_be_looked_through(text):
    assert Secrets({"swordfish-7": "X_TOKEN"}).what(text) in (None, "the value of X_TOKEN")


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(sorted(KEYS)), st.booleans())
def test_the_quick_look_never_misses_what_the_thorough_one_finds(before, behind, what, known):
    odd = 'a"b\\c\nd-7734'
    text = f"{before} {odd if known else KEYS[what]} {behind}"
    secrets = Secrets({odd: "MY_PASSWORD"})
    row = json.dumps({"prompt": {"passages": ["x", text]}}, ensure_ascii=False)
    assert secrets.find(json.loads(row)) is not None
    assert secrets.in_text(row)


def test_values_of_the_environment_are_known_by_their_names():
    environment = {
        "ANTHROPIC_API_KEY": "planted-value-1", "OPENAI_API_KEY": "planted-value-2", "SOME_SECRET": "planted-value-3",
        "CI_JOB_TOKEN": "planted-value-4", "DB_PASSWORD": "planted-value-5",
        "AWS_SECRET_ACCESS_KEY": "planted-value-6",
        "DATABASE_URL": "postgresql://me:planted-value-7@db.example/x", "HOME": "/home/planted-value-8",
        "TOKENIZERS_PARALLELISM": "planted-value-9", "PGPASSWORD": "planted-value-0",
    }  # fmt: skip
    secrets = Secrets.known(environment)
    for name, value in environment.items():
        planted = re.search(r"planted-value-\d", value)[0]
        expected = None if name in ("HOME", "TOKENIZERS_PARALLELISM") else f"the value of {name}"
        assert secrets.what(f"it said {planted}, and left") == expected


@pytest.mark.parametrize(
    "value", ["", "true", "none", "changeme", "password", "12345678", "0000000000", "xxxxxxxxxxxx"]
)
def test_a_value_that_is_a_plain_word_or_number_is_no_secret_to_be_told_from_text(value):
    assert Secrets.known({"X_API_KEY": value}).what(f"the {value} was {value}") is None


def test_a_short_secret_counts_on_its_own_and_a_long_one_anywhere():
    short, long = "fish-4711", "correct-horse-battery-4711"
    secrets = Secrets.known({"A_PASSWORD": short, "B_PASSWORD": long})
    assert secrets.what(f"sword{short}x") is None
    assert secrets.what(f"({short})") == "the value of A_PASSWORD"
    assert secrets.what(f"sword{long}x") == "the value of B_PASSWORD"


def test_the_place_is_named_and_the_secret_never_is():
    key = KEYS["an Anthropic key"]
    secrets = Secrets.known({"ANTHROPIC_API_KEY": key})
    data = {"prompt": {"question": "why", "passages": ["fine", f"it is {key}"]}, "sample": 0}
    assert secrets.find(data) == ("prompt.passages[1]", "the value of ANTHROPIC_API_KEY")
    assert secrets.find({"generator": {key: 1}}) == ("generator", "the value of ANTHROPIC_API_KEY")
    assert secrets.find({"prompt": {"question": "why"}}) is None
    assert key not in repr(secrets)
