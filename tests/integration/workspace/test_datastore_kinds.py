"""The other kinds of datastores: S3 over moto_server, folders of this machine, databases, and what there is no way to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import obstore
import pytest

from batchmill.storage.object_store import store_for
from batchmill.storage.transfer import PARTIAL
from batchmill.workspace.azure_datastore import AzureBlobDatastore, AzureFileDatastore
from batchmill.workspace.bucket_datastore import LocalFolderDatastore, S3Datastore
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.sources import physical
from batchmill.workspace.sql_datastore import AzurePostgreSqlDatastore, SqlDatastore
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets
from tests.postgres import postgres_server

KEYS = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace, in an environment that would lead elsewhere."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "somebodyelse")
    return Workspace.create("team", show_output=False)


@pytest.fixture(scope="module")
def moto() -> Iterator[stores.Server]:
    with stores.s3_server() as server:
        server.create("photos")
        yield server


def check_keys(moto: stores.Server, after: bytes) -> None:
    """The emulator checks keys after so many requests."""
    request = urllib.request.Request(f"{moto.url}/moto-api/reset-auth", after, {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


# --- S3 ---------------------------------------------------------------------------------------------------------------------------


def test_a_bucket_is_used_from_a_folder_on(ws: Workspace, moto: stores.Server, tmp_path: Path) -> None:
    whole = Datastore.register_s3_bucket(ws, "whole", "photos", **KEYS, endpoint=moto.url)
    part = Datastore.register_s3_bucket(ws, "part", "photos", **KEYS, endpoint=moto.url, prefix="/2026/")
    obstore.put(store_for(whole.place()), "2026/07/a.png", b"a")
    obstore.put(store_for(whole.place()), "other.png", b"o")
    assert [file.name for file in part.files()] == ["07/a.png"]
    assert physical("datastore://part/07/", ws) == "datastore://team:part/07/"
    (tmp_path / "b.png").write_text("b")
    part.upload_files([tmp_path / "b.png"], target_path="08", show_progress=False)
    assert [file.name for file in whole.files("2026")] == ["2026/07/a.png", "2026/08/b.png"]
    assert part.download(tmp_path / "down", prefix="08", show_progress=False) == 1
    assert (tmp_path / "down/08/b.png").read_text() == "b"
    assert type(Datastore(ws, "part")) is S3Datastore
    assert json.loads(str(part)) == {"name": "part", "bucket": "photos", "prefix": "2026", "region": None, "endpoint": moto.url}


def test_without_keys_those_of_the_environment_are_used(ws: Workspace, moto: stores.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.delenv("AWS_ENDPOINT")
    store = Datastore.register_s3_bucket(ws, "ambient", "photos")
    obstore.put(store_for(store.place()), "ambient.txt", b"x")
    assert "ambient.txt" in [file.name for file in store.files()]
    public = Datastore.register_s3_bucket(ws, "public", "photos", anonymous=True, endpoint=moto.url)
    with pytest.raises(UserErrorException, match="'public' has no access key"):
        public.upload_files([__file__], show_progress=False)


def test_who_is_not_let_in_is_told_why(ws: Workspace, moto: stores.Server) -> None:
    with pytest.raises(UserErrorException, match="there is no bucket 'not-there'") as error:
        Datastore.register_s3_bucket(ws, "x", "not-there", **KEYS, endpoint=moto.url)
    assert "\n" not in error.value.line
    with pytest.raises(UserErrorException, match="access_key_id and secret_access_key together"):
        Datastore.register_s3_bucket(ws, "x", "photos", access_key_id=used_secrets.S3_ACCESS_KEY_ID)
    check_keys(moto, b"0")
    try:
        with pytest.raises(UserErrorException, match=r"access is denied \(InvalidAccessKeyId\)") as error:
            Datastore.register_s3_bucket(ws, "x", "photos", **KEYS, endpoint=moto.url)
        assert used_secrets.MARK not in str(error.value)
    finally:
        check_keys(moto, b"inf")
    assert "x" not in ws.datastores


@pytest.mark.parametrize("endpoint", ["http://user:pass@host", "http://host?x=1", "http://ho st"])
def test_an_address_holds_no_secret(ws: Workspace, endpoint: str) -> None:
    with pytest.raises(UserErrorException, match="without user, query and fragment") as error:
        Datastore.register_s3_bucket(ws, "x", "photos", **KEYS, endpoint=endpoint)
    assert "pass" not in error.value.line


class HalfServer(BaseHTTPRequestHandler):
    """Lists one large object of S3, and stops in the middle of it."""

    size, said = 8 << 20, threading.Event()

    def do_GET(self) -> None:
        if "list-type=2" in self.path:
            body = (
                "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>large.bin</Key><ETag>&quot;e&quot;</ETag>"
                f"<Size>{self.size}</Size><LastModified>2026-07-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
            ).encode()
            self._head(len(body))
            self.wfile.write(body)
            return
        self._head(self.size)
        self.wfile.write(b"x" * (self.size // 2))
        self.said.set()
        self.rfile.read()  # until the client leaves

    def _head(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Wed, 01 Jul 2026 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


INTERRUPTED = """
import sys
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace
print("begun", flush=True)
try:
    Datastore(Workspace.get("team"), "half").download(sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupted_download_leaves_no_half_file(ws: Workspace, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HalfServer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        Datastore.register_s3_bucket(ws, "half", "photos", **KEYS, endpoint=url)
        here = tmp_path / "here"
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(here)],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert HalfServer.said.wait(60)
        while not list(here.glob(f"{PARTIAL}*")) and process.poll() is None:
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert list(here.iterdir()) == []
    finally:
        server.shutdown()
        server.server_close()


# --- Google Cloud Storage ---------------------------------------------------------------------------------------------------------


class GoogleServer(BaseHTTPRequestHandler):
    """Lists one object, and says how it was asked."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path.partition("?")[0], self.headers.get("Authorization")))
        body = (
            b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>2026/a.png</Key><ETag>&quot;e&quot;</ETag>"
            b"<Size>1</Size><LastModified>2026-07-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_bucket_of_google(ws: Workspace, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GoogleServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        public = Datastore.register_gcs_bucket(ws, "public", "photos", anonymous=True, endpoint=url)
        assert [(file.name, file.size) for file in public.files()] == [("2026/a.png", 1)]
        key = json.dumps({"disable_oauth": True, "client_email": "", "private_key": used_secrets.MARK, "private_key_id": ""})
        private = Datastore.register_gcs_bucket(ws, "private", "photos", service_account_key=key, endpoint=url, prefix="2026")
        assert [file.name for file in private.files()] == ["a.png"]
        assert used_secrets.MARK not in str(private) + json.dumps(private.as_dict()) + repr(private.connection)
    finally:
        server.shutdown()
        server.server_close()
    assert GoogleServer.asked[0] == ("/photos", None)
    with pytest.raises(UserErrorException, match=r"The service account file .*/nothing.json of datastore 'file' cannot be read"):
        Datastore.register_gcs_bucket(ws, "file", "photos", service_account_file=tmp_path / "nothing.json", endpoint=url)


# --- folders of this machine ------------------------------------------------------------------------------------------------------


def test_a_folder_of_this_machine(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserErrorException, match=r"there is no folder .*/data"):
        Datastore.register_local_folder(ws, "data", "data")
    store = Datastore.register_local_folder(ws, "data", "data", create_if_not_exists=True)
    assert store.folder == str(tmp_path / "data")
    assert type(Datastore(ws, "data")) is LocalFolderDatastore
    (tmp_path / "a.txt").write_text("a")
    store.upload_files(["a.txt"], target_path="x/y", show_progress=False)
    assert (tmp_path / "data/x/y/a.txt").read_text() == "a"
    assert physical("datastore://data/x/**", ws) == f"{tmp_path}/data/x/**"
    (tmp_path / "file").touch()
    with pytest.raises(UserErrorException, match=r"cannot be created: (File exists|Not a directory)"):
        Datastore.register_local_folder(ws, "other", "file", create_if_not_exists=True)


@pytest.mark.parametrize("prefix", ["../", "../secret", "a/../../", "{outside}/", "{outside}/secret"])
def test_nothing_outside_of_a_folder_is_listed_or_brought(ws: Workspace, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "store" / "a").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("not yours")
    store = Datastore.register_local_folder(ws, "folder", tmp_path / "store")
    wanted = prefix.format(outside=tmp_path)
    assert list(store.files(wanted)) == []
    assert store.download(tmp_path / "into", wanted, show_progress=False) == 0


def test_nothing_is_uploaded_outside_of_a_datastore(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x.txt").write_text("x")
    store = Datastore.register_local_folder(ws, "folder", tmp_path / "store", create_if_not_exists=True)
    with pytest.raises(UserErrorException, match=r"'a/\.\./\.\./outside' leads out of datastore 'folder'"):
        store.upload(tmp_path / "source", "a/../../outside", show_progress=False)
    assert not (tmp_path / "outside").exists()


def test_every_workspace_has_two_stores(ws: Workspace, tmp_path: Path) -> None:
    blob, file = Datastore(ws), Datastore.get(ws, "workspacefilestore")
    assert (blob.name, type(blob), type(file)) == ("workspaceblobstore", AzureBlobDatastore, AzureFileDatastore)
    assert Datastore.get_default(ws) == ws.get_default_datastore() == blob
    assert json.loads(str(blob)) == {
        "name": "workspaceblobstore",
        "container_name": f"azureml-blobstore-{ws.id}",
        "account_name": blob.account_name,
        "protocol": "https",
        "endpoint": "core.windows.net",
    }
    (tmp_path / "a.txt").write_text("a")
    blob.upload_files([tmp_path / "a.txt"], show_progress=False)
    assert (ws.folder / "workspaceblobstore/a.txt").read_text() == "a"


def test_containers_of_the_default_account_are_made_when_they_are_named(ws: Workspace, tmp_path: Path) -> None:
    """The notebooks of the reference architecture register three containers of the default account by its name and key."""
    default = ws.get_default_datastore()
    for name in ("data", "models", "preds"):
        for _ in range(2):
            store = Datastore.register_azure_blob_container(
                ws,
                datastore_name=name,
                container_name=name,
                account_name=default.account_name,
                account_key=default.account_key,
            )
    (tmp_path / "a.txt").write_text("a")
    assert store.upload_files([tmp_path / "a.txt"], show_progress=False).path_on_datastore is None
    assert [file.name for file in Datastore(ws, "preds").files()] == ["a.txt"]
    assert list(Datastore(ws, "data").files()) == []
    assert store.account_key == default.account_key


def test_a_mirrored_container_is_read_from_its_mirror(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebooks register public containers of the account pipelinedata, without a key and with overwrite."""
    (tmp_path / "mirror/sampledata/mnist").mkdir(parents=True)
    (tmp_path / "mirror/sampledata/mnist/0.png").write_text("0")
    monkeypatch.setenv("BATCHMILL_MIRRORS", json.dumps({"pipelinedata": str(tmp_path / "mirror")}))
    for _ in range(2):
        store = Datastore.register_azure_blob_container(ws, "mnist_datastore", "sampledata", "pipelinedata", overwrite=True)
    assert physical("datastore://mnist_datastore/mnist/*.png", ws) == f"{tmp_path}/mirror/sampledata/mnist/*.png"
    assert store.download(tmp_path / "down", show_progress=False) == 1
    assert (store.account_name, store.container_name) == ("pipelinedata", "sampledata")
    with pytest.raises(UserErrorException, match=r"there is no folder .*/mirror/iris, where the mirror map leads container 'iris'"):
        Datastore.register_azure_blob_container(ws, "iris", "iris", "pipelinedata")
    monkeypatch.delenv("BATCHMILL_MIRRORS")
    ws.registry.set_setting("mirrors", {"pipelinedata/sampledata": "datastore://workspaceblobstore/copies"})
    assert physical("datastore://mnist_datastore/x", ws) == f"{ws.folder}/workspaceblobstore/copies/x"
    ws.registry.set_setting("mirrors", {"pipelinedata/sampledata": "https://example.org/x"})
    with pytest.raises(UserErrorException, match="a plain web server, which cannot be listed"):
        physical("datastore://mnist_datastore/x", ws)


def test_a_mirror_may_be_a_bucket(ws: Workspace, moto: stores.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    Datastore.register_s3_bucket(ws, "copies", "photos", **KEYS, endpoint=moto.url)
    obstore.put(store_for(Datastore(ws, "copies").place()), "all/sampledata/x.csv", b"x")
    monkeypatch.setenv("BATCHMILL_MIRRORS", json.dumps({"pipelinedata": "datastore://copies/all"}))
    store = Datastore.register_azure_blob_container(ws, "sample", "sampledata", "pipelinedata")
    assert [file.name for file in store.files()] == ["x.csv"]


def test_a_file_share_is_a_folder_or_a_mirror(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserErrorException, match=r"cannot be reached: Batchmill speaks to blob containers only\. Mount the share"):
        Datastore.register_azure_file_share(ws, "share", "docs", "teamfiles", account_key=used_secrets.ACCOUNT_KEY)
    (tmp_path / "mounted").mkdir()
    monkeypatch.setenv("BATCHMILL_MIRRORS", json.dumps({"teamfiles/docs": str(tmp_path / "mounted")}))
    store = Datastore.register_azure_file_share(ws, "share", "docs", "teamfiles", account_key=used_secrets.ACCOUNT_KEY)
    assert physical("datastore://share/x", ws) == f"{tmp_path}/mounted/x"
    assert store.container_name == "docs"


# --- names, the default, taking away ----------------------------------------------------------------------------------------------


def test_the_default_can_be_another_one_and_is_not_taken_away(ws: Workspace, tmp_path: Path) -> None:
    store = Datastore.register_local_folder(ws, "data", tmp_path)
    store.set_as_default()
    assert Datastore(ws).name == ws.get_default_datastore().name == "data"
    with pytest.raises(UserErrorException, match="is the default datastore of workspace team and cannot be unregistered"):
        Datastore(ws, "data").unregister()
    Datastore(ws, "workspaceblobstore").set_as_default()
    store.unregister()
    with pytest.raises(UserErrorException, match="There is no datastore 'data' in workspace team"):
        Datastore(ws, "data")
    with pytest.raises(UserErrorException, match=r"There is no datastore 'data' .* any more"):
        store.unregister()
    assert tmp_path.is_dir()


@pytest.mark.parametrize("name", ["", "a/b", "a:b", ".a", "-a", "a b", "x" * 256, None, 5])
def test_names_are_checked(ws: Workspace, tmp_path: Path, name: Any) -> None:
    with pytest.raises(UserErrorException, match="A datastore cannot be called"):
        Datastore.register_local_folder(ws, name, tmp_path)


@pytest.mark.parametrize(
    ("container", "account", "options", "words"),
    [
        ("a/b", "team", {}, "'a/b' is no name of a container"),
        ("photos", "te:am", {}, "'te:am' is no name of a storage account"),
        ("photos", "", {}, "'' is no name of a storage account"),
        ("photos", "team", {"protocol": "ftp"}, "The protocol is 'http' or 'https', not 'ftp'"),
        ("photos", "team", {"endpoint": "http://u:p@h"}, "without user"),
    ],
)
def test_places_are_checked(ws: Workspace, container: str, account: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(UserErrorException, match=words):
        Datastore.register_azure_blob_container(ws, "x", container, account, **options)


@pytest.mark.parametrize("kind", ["azure_sql_database", "azure_my_sql", "azure_data_lake", "dbfs", "hdfs"])
def test_what_there_is_no_way_to_names_another(ws: Workspace, kind: str) -> None:
    with pytest.raises(UserErrorException, match=r"Batchmill cannot read .*(se|with) .*register_|Batchmill cannot read .*Mount it"):
        getattr(Datastore, f"register_{kind}")(ws, "x", "y", overwrite=True)


# --- a service principal ----------------------------------------------------------------------------------------------------------


class Directory(BaseHTTPRequestHandler):
    """The login of a tenant and an empty file system, in one."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(json.dumps({"access_token": used_secrets.BEARER_TOKEN, "expires_in": 3600}).encode())

    def do_GET(self) -> None:
        self.asked.append(f"{self.path.partition('?')[0]} {self.headers.get('Authorization')}")
        self._answer(b"<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_service_principal_logs_in_at_its_tenant(ws: Workspace) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Directory)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        store = Datastore.register_azure_data_lake_gen2(
            ws, "lake", "raw", "team", "my-tenant", "my-client", used_secrets.CLIENT_SECRET, authority_url=url, endpoint=url
        )
        assert list(store.files()) == []
    finally:
        server.shutdown()
        server.server_close()
    login, listing, *_ = Directory.asked
    assert "client_id=my-client" in login
    assert listing == f"/team/raw Bearer {used_secrets.BEARER_TOKEN}"
    assert store.client_secret == used_secrets.CLIENT_SECRET
    assert used_secrets.MARK not in str(store)
    with pytest.raises(UserErrorException, match="client_secret is missing"):
        Datastore.register_azure_data_lake_gen2(ws, "other", "raw", "team", "my-tenant", "my-client")


# --- databases --------------------------------------------------------------------------------------------------------------------


def test_an_sqlite_database(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserErrorException, match=r"sales\.db cannot be used: there is no such file"):
        Datastore.register_sql_database(ws, "sales", "sqlite:///sales.db")
    database = sqlite3.connect("sales.db")
    database.execute("CREATE TABLE t (x)")
    database.close()
    store = Datastore.register_sql_database(ws, "sales", "sqlite:///sales.db")
    assert store.engine_url == f"sqlite:///{tmp_path}/sales.db"
    assert type(Datastore(ws, "sales")) is SqlDatastore
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at")
    with pytest.raises(UserErrorException, match="file is not a database"):
        Datastore.register_sql_database(ws, "text", "sqlite:///text.db").check()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u@h/d", "'mysql' is no kind of database that Batchmill reads. Write sqlite:////data/sales.db or postgresql://"),
        ("nothing", "cannot be read. Write sqlite"),
        ("sqlite://", "An SQLite database is a file"),
        ("sqlite:///:memory:", "An SQLite database is a file"),
    ],
)
def test_other_databases_are_refused(ws: Workspace, url: str, words: str) -> None:
    with pytest.raises(UserErrorException, match=words):
        Datastore.register_sql_database(ws, "x", url)


def test_passwords_of_databases_are_apart(ws: Workspace) -> None:
    from urllib.parse import quote

    secret = quote(used_secrets.DATABASE_PASSWORD, safe="")
    for url in (f"postgresql://me:{secret}@h:5433/d", f"postgresql://me@h:5433/d?password={secret}"):
        store = Datastore.register_sql_database(ws, "pg", url, overwrite=True, skip_validation=True)
        assert store.user_password == used_secrets.DATABASE_PASSWORD
        assert store.url == "postgresql+psycopg://me@h:5433/d"
        assert store.engine_url == f"postgresql+psycopg://me:{secret}@h:5433/d"
        assert used_secrets.MARK not in str(store) + json.dumps(store.as_dict())
    azure = Datastore.register_azure_postgre_sql(ws, "apg", "server", "d", "me", used_secrets.DATABASE_PASSWORD, 5432, skip_validation=True)
    assert type(Datastore(ws, "apg")) is AzurePostgreSqlDatastore
    assert azure.engine_url.endswith("@server.postgres.database.azure.com:5432/d?sslmode=require")
    assert (azure.server_name, azure.database_name, azure.user_id, azure.port_number) == ("server", "d", "me", 5432)


def test_a_postgresql_database_is_asked(ws: Workspace) -> None:
    try:
        with postgres_server() as server:
            used_secrets.SECRETS.append(server.password)
            place = {"server_name": "127.0.0.1", "database_name": "postgres", "user_id": "tester", "port_number": server.port}
            with pytest.raises(UserErrorException, match=r"cannot be used: .*password authentication failed") as error:
                Datastore.register_azure_postgre_sql(ws, "pg", user_password=used_secrets.DATABASE_PASSWORD, enforce_ssl=False, **place)
            assert used_secrets.MARK not in str(error.value)
            store = Datastore.register_azure_postgre_sql(ws, "pg", user_password=server.password, enforce_ssl=False, **place)
            Datastore.register_sql_database(ws, "url", server.url("postgres"))
            store.check()
    except stores.StoreMissing as missing:
        pytest.skip(f"NOT TESTED against PostgreSQL: {missing}")
    assert Datastore(ws, "url").user_password == server.password
    assert server.password not in str(Datastore(ws, "url"))


def test_a_store_of_a_newer_version_is_listed_and_not_used(ws: Workspace) -> None:
    ws.registry.put("datastore", "newer", {"type": "Tape", "secrets": {"key": "sealed:x"}})
    with pytest.raises(UserErrorException, match="'newer' is of the kind 'Tape', which this version of Batchmill does not know"):
        Datastore(ws, "newer")


def test_a_database_that_does_not_answer_is_told_without_its_password(ws: Workspace) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"postgresql://me@127.0.0.1:{probe.getsockname()[1]}/d"
        with pytest.raises(UserErrorException, match=r"cannot be used: .*refused") as error:
            Datastore.register_sql_database(ws, "pg", url, password=used_secrets.DATABASE_PASSWORD)
    assert "\n" not in error.value.line
    assert used_secrets.MARK not in str(error.value)
