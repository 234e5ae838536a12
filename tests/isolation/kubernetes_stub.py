"""Snakemake with a Kubernetes that only writes down the specification of the first job; then the run ends."""

import json
import os
import sys
from pathlib import Path

import kubernetes.client
import kubernetes.config
from snakemake.cli import main
from snakemake_interface_common.exceptions import WorkflowError


def create_namespaced_job(self, namespace, body, **kwargs):
    """Write the specification as it would be sent."""
    Path(os.environ["SPECIFICATION"]).write_text(json.dumps(self.api_client.sanitize_for_serialization(body)))
    raise WorkflowError("the specification is written")


kubernetes.config.load_kube_config = lambda *args, **kwargs: None
for name in ("create_namespaced_secret", "delete_namespaced_secret"):
    setattr(kubernetes.client.CoreV1Api, name, lambda self, *args, **kwargs: None)
kubernetes.client.BatchV1Api.create_namespaced_job = create_namespaced_job
main(sys.argv[1:])
