from xds.workers.process import main

main()
