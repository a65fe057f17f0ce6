from __future__ import annotations

import pytest

from batchmill.errors import StoreError
from batchmill.storage import connections
from batchmill.storage.connections import Connection
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import connection_for, locate, place_of, store_for
from batchmill.storage.store_errors import item_error, refusal, store_error

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
SAS = "sv=2021-08-06&ss=b&sig=abcDEF%2Bxyz123%3D"


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TABLE", {})
    monkeypatch.setattr(connections, "_FINDERS", [])


def az(root: str = "", **credentials: str) -> Connection:
    config = {"account_name": "team", "endpoint": "http://127.0.0.1:1/team"}
    return Connection("az", root, "photos", config, credentials, title="datastore 'photos'")


def test_a_connection_does_not_show_its_secrets() -> None:
    connection = az(access_key=KEY, sas_token=SAS)
    assert KEY not in repr(connection)
    assert SAS not in f"{connection}"
    assert connection.concealed(f"key {KEY} and {SAS}") == "key *** and ***"
    assert az().concealed("GET http://h/x?sv=1&sig=abc in 3 s") == "GET http://h/x?sv=1&sig=*** in 3 s"


def test_only_places_without_credentials_are_anonymous() -> None:
    assert az().anonymous
    assert not az(access_key=KEY).anonymous
    assert not Connection("s3", bucket="b", from_environment=True).anonymous
    assert not Connection("local", "/data").anonymous


def test_a_place_that_is_not_connected_is_named() -> None:
    with pytest.raises(StoreError, match="of workspace 'home' is not connected"):
        connections.connection_of("home:photos")


def test_a_place_that_is_not_connected_is_looked_for_where_somebody_can() -> None:
    asked: list[str] = []

    def find(key: str) -> str:
        asked.append(key)
        connections.connect("home:photos", az())
        return "home:photos"

    connections.find_with(find)
    for _ in range(2):
        location = parse_location("datastore://photos/a")
        assert (location.base, location.connection) == ("datastore://home:photos/a", "home:photos")
    assert parse_location("datastore://home:photos/a") == location
    assert asked == ["photos", "photos"]


def test_connections_travel_to_another_process_of_ours() -> None:
    connections.connect("home:photos", az("root", access_key=KEY))
    text = connections.connections_text()
    connections._TABLE.clear()
    connections.take_connections(text)
    assert connections.connection_of("home:photos") == az("root", access_key=KEY)


def test_a_container_known_by_its_url_alone_is_public() -> None:
    location = parse_location("wasbs://photos@team.blob.core.windows.net/x")
    found = connection_for(location)
    assert found is not None
    assert found.anonymous
    assert found.endpoint == "https://team.blob.core.windows.net"
    connections.connect("team/photos", az(access_key=KEY))
    assert connection_for(location) == az(access_key=KEY)


def test_one_place_by_two_names_is_one() -> None:
    connections.connect("home:whole", az())
    connections.connect("home:part", az("2026"))
    connections.connect("team/photos", az())
    whole, part = parse_location("datastore://home:whole/2026/a"), parse_location("datastore://home:part/a")
    assert place_of(whole) == place_of(part) == place_of(parse_location("https://team.blob.core.windows.net/photos/2026/a"))


def test_buckets_of_the_environment_and_of_connections_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    connections.connect("home:s", Connection("s3", "x", "b", {"endpoint": "https://s3.eu-west-1.amazonaws.com"}))
    assert place_of(parse_location("datastore://home:s/y")) == place_of(parse_location("s3://b/x/y"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9/")
    assert place_of(parse_location("datastore://home:s/y")) != place_of(parse_location("s3://b/x/y"))


def test_stores_are_shared_while_the_connection_is_the_same() -> None:
    connections.connect("home:photos", az(access_key=KEY))
    first = store_for(parse_location("datastore://home:photos/a"))
    connections.connect("home:photos", az(access_key=KEY))
    assert store_for(parse_location("datastore://home:photos/b")) is first
    connections.connect("home:photos", az(access_key="b3RoZXI="))
    assert store_for(parse_location("datastore://home:photos/b")) is not first


@pytest.mark.parametrize(
    ("connection", "cure"),
    [
        (az(access_key=KEY), "Check the credentials of datastore 'photos': batchmill datastore update."),
        (az(), "It is not public: give datastore 'photos' a key or a token."),
        (Connection("s3", bucket="b", from_environment=True, title="datastore 's'"), "Check AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_refusal_names_the_datastore_and_its_cure(connection: Connection, cure: str) -> None:
    connections.connect("home:photos", connection)
    location = parse_location("datastore://home:photos/a")
    error = PermissionError(f"status code: 403 Forbidden {KEY} https://h/x?{SAS} <Code>AuthorizationFailure</Code>")
    for told in (store_error(error, location, "list"), item_error(error, location, "x")):
        assert "datastore://home:photos/a" in str(told)
        assert KEY not in str(told)
        assert "sig=" not in str(told)
    assert cure in str(refusal(error, location).cure)


def test_a_public_container_that_is_not_says_so() -> None:
    location = parse_location("https://team.blob.core.windows.net/photos/a")
    told = str(store_error(PermissionError("status code: 403"), location, "list"))
    assert told == (
        "Cannot list https://team.blob.core.windows.net/photos/a: access is denied (403). "
        "It is not public: register it as a datastore with a key or a SAS token."
    )


def test_what_a_client_could_not_parse_is_told_without_the_secret() -> None:
    connections.connect("home:photos", az(access_key="no base64 key at all"))
    with pytest.raises(StoreError, match=r"access is denied\. Check the credentials of datastore .photos.") as error:
        locate("datastore://home:photos/a", 2.0)
    assert "no base64 key at all" not in str(error.value)
