"""Datastores by their azureml names, in the words of the sample notebooks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from azureml.core import Datastore, Workspace
from azureml.data.azure_storage_datastore import AzureBlobDatastore
from azureml.data.data_reference import DataReference
from azureml.data.datapath import DataPath, DataPathComputeBinding
from azureml.exceptions import UserErrorException


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace on a closed network, where the account pipelinedata has a mirror."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    for name, text in {"sampledata/mnist/0.png": "0", "sampledata/iris/iris.csv": "1,2", "iris-model/iris_model.pkl": "model"}.items():
        path = tmp_path / "mirror" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("BATCHMILL_MIRRORS", json.dumps({"https://pipelinedata.blob.core.windows.net": f"{tmp_path}/mirror"}))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Workspace.create("notebooks", "", "", "", exist_ok=True, show_output=False)


def test_the_mnist_notebook_registers_a_public_container(ws: Workspace) -> None:
    mnist_data = Datastore.register_azure_blob_container(
        ws, datastore_name="mnist_datastore", container_name="sampledata", account_name="pipelinedata", overwrite=True
    )
    path = mnist_data.path("mnist")
    assert isinstance(path, DataReference)
    assert (path.path_on_datastore, path.datastore.name) == ("mnist", "mnist_datastore")
    assert type(ws.datastores["mnist_datastore"]) is AzureBlobDatastore
    assert "mnist_datastore" in ws.datastores


def test_the_iris_notebook_downloads_its_model(ws: Workspace) -> None:
    model = Datastore.register_azure_blob_container(ws, "iris_model_datastore", "iris-model", "pipelinedata", overwrite=True)
    assert model.download("iris_model.pkl") == 1
    assert Path("iris_model.pkl/iris_model.pkl").read_text() == "model"


def test_the_partition_notebooks_upload(ws: Workspace) -> None:
    for name in ("user1/winter.csv", "user2/summer.csv"):
        Path("data", name).parent.mkdir(parents=True, exist_ok=True)
        Path("data", name).write_text(name)
    store = ws.get_default_datastore()
    assert store.upload("data", target_path="dataset_partition", overwrite=True).path_on_datastore == "dataset_partition"
    Path("oj.csv").write_text("a,b\n")
    store.upload_files(["./oj.csv"], ".", "oj_sales_data", True)
    assert [file.name for file in store.files("oj")] == ["oj_sales_data/oj.csv"]
    assert sorted(os.listdir(store.place().path)) == ["dataset_partition", "oj_sales_data"]


def test_the_reference_architecture_registers_containers_of_the_default_account(ws: Workspace) -> None:
    default = ws.get_default_datastore()
    for name in ("data", "models", "preds"):
        Datastore.register_azure_blob_container(
            ws, datastore_name=name, container_name=name, account_name=default.account_name, account_key=default.account_key
        )
    assert sorted(ws.datastores) == ["data", "models", "preds", "workspaceblobstore", "workspacefilestore"]
    data = Datastore(ws, "data")
    reference = DataReference(datastore=data, data_reference_name="data")
    assert str(reference) == "$AZUREML_DATAREFERENCE_data"
    assert reference.path_on_datastore is None


def test_the_datapath_notebook_binds_a_path(ws: Workspace) -> None:
    path = DataPath(datastore=Datastore(ws), path_on_datastore="20newsgroups/20news.pkl")
    reference = DataPathComputeBinding(mode="mount").create_data_reference("input", path)
    assert (reference.mode, reference.path_on_datastore) == ("mount", "20newsgroups/20news.pkl")


def test_errors_are_those_of_the_sdk(ws: Workspace) -> None:
    with pytest.raises(UserErrorException, match="There is no datastore 'nothing'") as error:
        Datastore.get(ws, "nothing")
    assert str(error.value).startswith("UserErrorException:\n\tMessage: There is no datastore 'nothing'")
    Datastore.register_azure_blob_container(ws, "mnist", "sampledata", "pipelinedata")
    with pytest.raises(UserErrorException, match="Another datastore with the same name already exists"):
        Datastore.register_azure_blob_container(ws, "mnist", "iris-model", "pipelinedata")
    with pytest.raises(UserErrorException, match="no access key"):
        Datastore(ws, "mnist").upload(".")
