"""Several answers to one prompt in a row of the decoder."""

import torch


def test_answers_in_one_row_are_those_of_rows_of_their_own(backbones):
    for backbone in backbones:
        if not backbone.is_encoder_decoder:
            continue
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(3, backbone.vocab_size, (2, 6), generator=generator)
        prompts = backbone.read(backbone.embed(tokens), torch.tensor([6, 4]))
        answers = torch.randint(3, backbone.vocab_size, (2, 7), generator=generator)  # of 3 and of 4 tokens
        position = torch.tensor([0, 1, 2, 0, 1, 2, 3]).expand(2, -1)
        branch = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        mask = (branch[:, None] == branch) & (position[0] <= position[0][:, None])
        together = backbone(backbone.embed(answers), position, mask.expand(2, -1, -1), prompts=prompts)
        for part in (slice(0, 3), slice(3, 7)):
            alone = backbone(backbone.embed(answers[:, part]), prompts=prompts)
            torch.testing.assert_close(together[:, part], alone, atol=1e-4, rtol=1e-4)
