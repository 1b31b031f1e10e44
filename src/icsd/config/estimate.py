"""The rates of `snakemake estimate`."""

from icsd.config.section import Count, Rate, Section, Share, untracked


class EstimateConfig(Section):
    """The rates of `snakemake estimate`, for models of full size on one GPU."""

    captions: Count = untracked(566_435, "Captions of the corpus, as long as its file is not there.")
    caption_characters: Rate = untracked(
        52.4, "Mean length of those captions: that of COCO's, over the 202,654 of val2014."
    )
    tokens_per_character: Rate = untracked(
        0.21,
        "Tokens a character of a prompt: the 312 M that are known of COCO's 566,435 groups, by prompts of "
        "2,615 characters (30 captions of val2014 in the text of paper.txt).",
    )
    answer_tokens: Rate = untracked(80.0, "Tokens of an answer: the 45 M that are known of COCO's 566,435 groups.")
    repair_share: Share = untracked(
        0.05, "Share of answers that are requested again because they cannot be used; a guess."
    )
    unusable_share: Share = untracked(0.05, "Share of groups that end without a usable summary; a guess.")
    captions_per_summary: Rate = untracked(
        7.0, "Captions a summary is of, each of which single_matched draws; paper.txt asks for 5 to 10."
    )
    requests_at_once: Count = untracked(64, "Requests under way at once in all jobs: llm_requests of profiles/default.")
    seconds_per_request: Rate = untracked(2.0, "Seconds from a request to its answer; a guess for an endpoint.")
    batch_hours: Rate = untracked(24.0, "Hours in which the Batch API answers a batch: what OpenAI promises.")
    local_requests_per_second: Rate = untracked(
        5.0, "Answers a second of a chat model of 7 B parameters on one GPU, in batches; a guess."
    )
    embeddings_per_second: Rate = untracked(2_000.0, "Captions a second through CLIP ViT-B/32; a guess.")
    comparisons_per_second: Rate = untracked(
        50e6,
        "Captions compared with one another a second, by 512 numbers, on one core; measured: 70 M.",
    )
    merges_per_second: Rate = untracked(500.0, "Groups a second that the built-in merger condenses, on one core.")
    images_per_second: Rate = untracked(
        1.0, "Pictures a second of Stable Diffusion 1.4, 512 by 512 pixels, in 20 steps; a guess."
    )
    seconds_per_image_request: Rate = untracked(
        10.0, "Seconds from a request for a picture to the picture; a guess for a server."
    )
    alignments_per_second: Rate = untracked(
        100.0, "Pictures a second through CLIP ViT-B/32, each with its captions; a guess."
    )
    checks_per_second: Rate = untracked(100.0, "Pictures a second through its safety checker; a guess.")
    decodes_per_second: Rate = untracked(
        50.0, "PNG files of 512 by 512 pixels a second that a training decodes and shrinks, on one core; measured: 51."
    )
    test_pictures: Count = untracked(5_000, "Pictures of a test set, as long as its table is not there: COCO's.")
    training_steps_per_second: Rate = untracked(
        3.0, "Steps of 64 pairs a second, CLIP ViT-B/32 and BERT base, validations included; a guess."
    )
    bytes_per_caption: Rate = untracked(
        5_000.0, "On disk: its text and 512 float32, both twice, and the ids of 30 neighbours twice."
    )
    bytes_per_summary: Rate = untracked(
        1_000.0, "On disk: about 700 for the reply, the rest for the table's row; a guess."
    )
    bytes_per_image: Rate = untracked(
        900_000.0, "On disk: a PNG file of 512 by 512 pixels, about 450 KB, twice: kept and in the table."
    )
    bytes_per_vector: Rate = untracked(
        3_100.0, "On disk, with alignment.rematch: 768 float32 of a picture or caption, and ids."
    )
    bytes_per_training: Rate = untracked(1.0e9, "On disk: a checkpoint of 230 M float32 weights.")
    walltime_margin: Rate = untracked(
        3.0, "Minutes that a job requests of a cluster, as a multiple of the minutes by these rates."
    )
