"""Train from a config: ``python tools/train.py CONFIG [--data DIR] [--work-dir DIR] [--resume] [--amp] [--check]``.

A config of classification, detection or segmentation starts from a pre-trained encoder by ``--pretrained CHECKPOINT``,
pre-training goes on from one by ``--init-from CHECKPOINT``.
"""


def main() -> None:
    from repre_mm.cli.config import checked_config
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.cli.training import prepare_training, training_parser
    from repre_mm.distributed.processes import leave_distributed

    args = training_parser().parse_args()
    with one_line_errors('the set-up', args.traceback):
        if args.check:
            from repre_mm.engine.needs import training_needs

            cfg = checked_config(args)
            print(f'{args.config}: no faults found\n{training_needs(cfg, args.measure)}')
            return
        runner = prepare_training(args)
    with one_line_errors('the training', args.traceback):
        runner.train()
    leave_distributed()


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
