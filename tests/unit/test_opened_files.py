"""Files that the config names, opened where Snakemake has them; jobs that are told what the planning process found."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from marginome.batch_files import read_record, write_records
from marginome.config import file_places, resolve_config
from marginome.errors import MarginomeError
from marginome.jobs.check_model import check_models
from marginome.jobs.write_provenance import write_provenance
from marginome.models import load_model
from marginome.models.headers import reader_modules
from marginome.models.loaders import LOADERS
from marginome.motifs.reading import named_files
from marginome.opened_files import OpenedFiles
from marginome.planning import Planned, check_shipped
from marginome.storage import read_json, write_json, write_table
from workspace import ROOT, small_config

MEME = (ROOT / "resources" / "motifs" / "JASPAR2026_CORE_vertebrates.meme").read_text().split("MOTIF")


def opened(config: dict, section: str, name: str, folder: str) -> OpenedFiles:
    """What a job of an entry is told where Snakemake has every file in another folder."""
    places = [(path, files) for path, files, is_code in file_places(config, section, name) if not is_code]
    names = list(dict.fromkeys(file for _, files in places for file in files))
    told = {
        "names": names,
        "places": [[path, [names.index(file) for file in files]] for path, files in places],
        "digests": [None] * len(names),
    }
    told["digests"] = [None] * len(names)
    return OpenedFiles(told, [f"{folder}/{file}" for file in names])


def test_every_file_of_the_demo_is_replaced_where_it_stands():
    config = resolve_config(small_config(), check_files=False)
    for section in ("models", "motifs", "backgrounds"):
        for name, entry in config[section].items():
            found = opened(config, section, name, "there")
            before = repr(entry)
            settings = found.settings(entry)
            assert "'there/resources/" in repr(settings) and "'resources/" not in repr(settings)
            assert repr(settings).replace("there/", "") == repr(entry) == before  # nothing else, and a copy
            for _, files, _ in file_places(config, section, name):
                for file in files:
                    assert found.given(file) == f"there/{file}" and found.name(f"there/{file}") == file
    assert found.name("elsewhere") == "elsewhere"


def test_code_is_no_data_and_keeps_its_place():
    config = {"models": {"m": {"loader": "own.py:net", "weights": ["a.pt", "b.pt"], "input_length": 8}}}
    assert sorted(file_places(config, "models", "m")) == [
        (["loader"], ["own.py"], True),
        (["weights", 0], ["a.pt"], False),
        (["weights", 1], ["b.pt"], False),
    ]
    settings = opened(config, "models", "m", "there").settings(config["models"]["m"])
    assert settings == {"loader": "own.py:net", "weights": ["there/a.pt", "there/b.pt"], "input_length": 8}


def test_patterns_and_folders_stand_for_their_files_in_the_order_in_which_they_are_read(tmp_path, monkeypatch):
    """As `named_files` yields them: what patterns name again is left out, a file of its own name is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motifs").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "motifs" / f"{name}.meme").write_text(MEME[0] + "MOTIF" + MEME[1])
    files = ["motifs/*b.meme", {"file": "motifs", "format": "meme"}, "motifs/b.meme", "motifs/[ab].meme"]
    config = {"motifs": {"mine": {"files": files, "format": "auto"}}}
    found = opened(config, "motifs", "mine", "there").settings(config["motifs"]["mine"])
    expected = list(named_files(files, "auto"))
    assert [name for name, _ in expected] == [f"motifs/{n}.meme" for n in "acb"]
    assert found["files"] == [
        f"there/{name}" if form == "auto" else {"file": f"there/{name}", "format": form} for name, form in expected
    ]


def test_files_that_are_not_those_of_the_params_are_an_error():
    with pytest.raises(ValueError, match="2 files are named, 1 given"):
        OpenedFiles({"names": ["a", "b"], "places": [], "digests": [None, None]}, ["a"])


def test_what_was_fetched_must_have_the_checksum_that_is_known(tmp_path, caplog):
    (tmp_path / "fetched").write_bytes(b"acgt")
    known = hashlib.sha256(b"acgt").hexdigest()
    told = {"names": ["s3://bucket/a.fa"], "places": [[["genome"], [0]]], "digests": [known]}
    with caplog.at_level("INFO", "marginome"):
        found = OpenedFiles(told, [tmp_path / "fetched"])
    assert found.settings({"genome": "s3://bucket/a.fa"}) == {"genome": str(tmp_path / "fetched")}
    assert f"s3://bucket/a.fa: SHA-256 {known}, as wanted" in caplog.text
    with pytest.raises(MarginomeError, match=rf"s3://bucket/a.fa: what was fetched has the SHA-256 {known}, wanted 0"):
        OpenedFiles({**told, "digests": ["0" * 64]}, [tmp_path / "fetched"])
    OpenedFiles({**told, "digests": [None]}, [tmp_path / "fetched"])  # nothing is known
    OpenedFiles(
        {**told, "names": ["a.fa"], "digests": ["0" * 64]}, ["a.fa"]
    )  # not fetched: its digest is in the params


def test_records_and_messages_have_the_names_of_the_config_and_what_was_found(tmp_path):
    """Of a file that was fetched: no place of Snakemake's own, and the SHA-256 in place of what a server said."""
    address, place = "https://host/m.pt", tmp_path / "storage" / "host" / "m.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes((ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt").read_bytes())
    sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
    told = {"names": [address, "own.tsv"], "places": [[["m", "weights"], [0]]], "digests": [None, "b" * 64]}
    found = OpenedFiles(told, [place, "own.tsv"])
    said = {"m": {address: f"{address} of 3 bytes", "own.tsv": "b" * 64}}
    assert found.digests(said) == {"m": {address: sha256, "own.tsv": "b" * 64}}
    settings = found.settings({"m": {"weights": address, "input_length": 2114}})
    engine = {"precision": "float32", "engine": "full", "memory_mb": 1000}
    record = tmp_path / "check.json"
    check_models(settings, digests=found.digests(said), engine=engine, device="cpu", json=record)
    checked = read_record(record, "m")
    assert checked["files"] == [{"file": address, "sha256": sha256}]
    assert checked["input_digests"] == {address: sha256, "own.tsv": "b" * 64}
    assert str(tmp_path) not in record.read_text()
    place.write_bytes(b"no model")
    with pytest.raises(MarginomeError, match=rf"^model 'm': {address}: ") as refused:
        load_model("m", settings["m"])
    assert str(tmp_path) not in str(refused.value)


def test_the_provenance_has_what_jobs_found_of_files_at_addresses(tmp_path):
    """What servers said of them when the run was planned is no digest; of other files nothing changes."""
    said = {f"https://host/{name}": "of 3 bytes" for name in ("m.pt", "m.meme", "g.fa")} | {"own.bed": "c" * 64}
    address = iter(said)
    found = {next(address): digit * 64 for digit in "123"}
    model, motifs, genome = ({name: digest} for name, digest in found.items())
    write_records(tmp_path / "check.json", {"m": {"input_digests": model}}, {})
    write_table(tmp_path / "motifs.parquet", pd.DataFrame({"a": [1]}), {"files": motifs | {"another.meme": "d" * 64}})
    write_json(tmp_path / "set.json", {"files": genome})
    write_provenance(
        tmp_path / "record.json", config={"models": {"m": {}}}, digests=said, code=["errors"], results=[], shards=[],
        checks=[tmp_path / "check.json"], opened=[tmp_path / "motifs.parquet", tmp_path / "set.json"], command="",
    )  # fmt: skip
    assert read_json(tmp_path / "record.json")["input_sha256"] == found | {"own.bed": "c" * 64}


def test_results_in_a_record_are_named_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = [Path("screen") / "effects.parquet", Path("screen") / "figures" / "a.svg"]
    for result in results:
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(result.name)
    empty = dict(config={"models": {}}, digests={}, code=["errors"], shards=[], checks=[], opened=[], command="")
    for record, names in (("screen/record.json", ["effects.parquet", "figures/a.svg"]), ("record.json", results)):
        write_provenance(record, results=results, **empty)
        wanted = {str(name): hashlib.sha256(r.name.encode()).hexdigest() for name, r in zip(names, results)}
        assert read_json(record)["result_sha256"] == wanted


def test_addresses_are_files_that_need_not_be_here():
    config = small_config()
    config["models"]["bpnet_ctcf"]["weights"] = "s3://bucket/m.pt"
    config["motifs"]["jaspar"]["files"] = ["https://host/motifs.meme?download=[1]"]
    config["models"]["bpnet_ctcf"].pop("loader")
    config["sha256"] = {"s3://bucket/m.pt": "0" * 64}
    resolved = resolve_config(config)
    assert reader_modules(resolved["models"]["bpnet_ctcf"]) == (
        "models.archives",
        "models.recognition",
        *sorted({f"models.{module}" for module in LOADERS.values()}),
    )
    config["sha256"]["s3://bucket/m2.pt"] = "0" * 64
    with pytest.raises(MarginomeError, match=r"sha256: there is no file 's3://bucket/m2\.pt'. Did you mean"):
        resolve_config(config)
    del config["sha256"]
    config["models"]["bpnet_ctcf"]["loader"] = "https://host/own.py:net"
    with pytest.raises(MarginomeError, match=r"code is not fetched: https://host/own\.py"):
        resolve_config(config)


def test_a_job_is_told_what_was_found(tmp_path):
    looked = []

    def planned(read: bool):
        plan = Planned(tmp_path / "deep" / "plan.json", read=read)

        @plan.asks
        def digest(section, name):
            looked.append(name)
            return {"file": [section, name]}

        return plan, digest

    plan, digest = planned(read=False)
    assert digest("models", "a") == digest("models", "a") == {"file": ["models", "a"]}
    plan.write()
    _, told = planned(read=True)
    assert told("models", "a") == {"file": ["models", "a"]} and looked == ["a"]
    assert told("models", "new") == {"file": ["models", "new"]} and looked == ["a", "new"]


def test_code_that_git_does_not_know_is_refused_before_a_run_without_a_shared_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("x = 1\n")
    check_shipped([])
    with pytest.raises(MarginomeError, match=r"own\.py: jobs without a shared file system .* git add own\.py"):
        check_shipped(["own.py"])
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "own.py"], check=True)
    with pytest.raises(MarginomeError, match=r"helper\.py: .* git add helper\.py"):
        check_shipped(["own.py"])
    subprocess.run(["git", "add", "helper.py"], check=True)
    check_shipped(["own.py"])
