# Patterns of the files that functions expand; each is written once, for its rule and for them. Under a storage provider
# `rules.x.output.y` is the address of a file and no pattern any more, so it is an input as it is or not at all. No rules here.

GENOME_INDEX = "<results>/genomes/{genome}/genome.fai"
GENOME_BLOCKS = "<results>/genomes/{genome}/genome.gzi"
BACKGROUND = "<results>/backgrounds/{background}.fa.gz"
COLLECTION = "<results>/motifs/{collection}.parquet"
CHECK = "<results>/models/{batch}/check.json"
BASELINE = "<results>/baselines/{batch}/{background}.h5"
ENTRIES = "<results>/entries/{background}.json"

# Of screens.
INSERTS = "<results>/screens/{screen}/inserts/{list}.parquet"
FAMILIES = "<results>/screens/{screen}/families/{list}.parquet"
SHARD = "<results>/screens/{screen}/shards/{batch}/{background}/{list}/{shard}.h5"
BATCH_EFFECTS = "<results>/screens/{screen}/effects/{batch}.parquet"
BATCH_BACKGROUNDS = "<results>/screens/{screen}/batches/{batch}/effects.h5"
BATCH_PROFILES = "<results>/screens/{screen}/batches/{batch}/profiles.h5"
BATCH_FAILED = "<results>/screens/{screen}/batches/{batch}/failed.json"
EFFECTS = "<results>/screens/{screen}/effects.parquet"
MANIFEST = "<results>/screens/{screen}/manifest.parquet"
SCREEN_MODELS = "<results>/screens/{screen}/models.parquet"
BEFORE = "<results>/screens/{screen}/functions/{batch}/{background}/before.h5"
AFTER = "<results>/screens/{screen}/functions/{batch}/{background}/{list}/{shard}.h5"
FUNCTIONS = "<results>/screens/{screen}/functions.h5"
DIFFERENCES = "<results>/screens/{screen}/differences.tsv"

# Of attributions.
ATTRIBUTION_SHARD = "<results>/attributions/{attribution}/shards/{shard}.h5"
SEQLETS = "<results>/attributions/{attribution}/seqlets.parquet"
ANNOTATIONS = "<results>/attributions/{attribution}/annotations.parquet"
PATTERNS = "<results>/attributions/{attribution}/patterns.parquet"
PATTERN_SEQLETS = "<results>/attributions/{attribution}/pattern_seqlets.parquet"
PATTERN_MATCHES = "<results>/attributions/{attribution}/pattern_matches.parquet"
ELEMENT_SHARD = "<results>/attributions/{attribution}/{elements}/shards/{model}/{background}/{shard}.h5"
ELEMENT_EFFECTS = "<results>/attributions/{attribution}/{elements}/effects.parquet"
ELEMENT_BACKGROUNDS = "<results>/attributions/{attribution}/{elements}/effects.h5"
ELEMENT_BEFORE = "<results>/attributions/{attribution}/{elements}/functions/{model}/{background}/before.h5"
ELEMENT_AFTER = "<results>/attributions/{attribution}/{elements}/functions/{model}/{background}/{shard}.h5"
