"""The `azureml_user` name as entry scripts import it (Azure ML: the package every parallel run puts on the path)."""
