"""An S3 (and all else that moto has of AWS) on loopback, with a bucket `store`: prints its address.

Lines of input, ``put`` or ``get``, a key and a local file, are done with the bucket; ``jobs`` writes the definitions of
Batch's jobs to the file. Each is answered by one line. It ends when its input does.
"""

import json
import logging
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
address = "http://{}:{}".format(*server.get_host_and_port())
client = boto3.client("s3", endpoint_url=address)
client.create_bucket(Bucket="store")
print(address, flush=True)
for line in sys.stdin:
    what, key, file = line.rstrip("\n").split("\t")
    if what == "put":
        client.upload_file(file, "store", key)
    elif what == "get":
        client.download_file("store", key, file)
    else:
        jobs = boto3.client("batch", endpoint_url=address).describe_job_definitions()["jobDefinitions"]
        Path(file).write_text(json.dumps(jobs, default=str))
    print("done", flush=True)
server.stop()
